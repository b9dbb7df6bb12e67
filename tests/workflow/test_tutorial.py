"""The tutorial, command by command, on a small version of the default study."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from helpers.places import REPOSITORY
from helpers.workspace import NOTHING, Workspace, fresh, job_stats

pytestmark = pytest.mark.workflow

PAGE = REPOSITORY / "docs" / "tutorial.md"
STEPS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)
SHELL = "source .venv/bin/activate"
MAKE = "make run"
RUN = "snakemake --cores 2"
SKIPPED = (2, 3)
"""Which runs are left out to save time; what is pending then adds up in the next dry run."""


def small(study: dict[str, Any]) -> dict[str, Any]:
    """The default study with few images, one epoch, and two pairs, probed for colour."""
    digits = study["data"]["sets"]["digits"]
    digits.update(per_class=20, split={"train": 0.4, "val": 0.2, "test": 0.4})
    digits["domains"] = {name: digits["domains"][name] for name in ("grey", "colour", "cue")}
    study["data"]["sets"] = {"digits": digits}
    study["training"]["epochs"] = 1
    main = study["pairs"]["main"]
    methods = {"kl": main["methods"]["kl"]}
    main.update(teacher={"model": "teacher_colour"}, methods=methods, probes=["colour"])
    cue = {**study["pairs"]["cue"], "probes": ["colour"]}
    study["pairs"] = {"main": {**main, "seeds": [0]}, "cue": {**cue, "seeds": [0, 1]}}
    study["probes"] = {"colour": study["probes"]["colour"]}
    models = ("student", "teacher_colour", "student_colour", "student_cue")
    study["models"] = {name: {**study["models"][name], "seeds": [0]} for name in models}
    study["models"]["student_cue"]["seeds"] = [0, 1]
    del study["models"]["student_colour"]["data"]["per_class"]
    return study


def over(base: dict[str, Any], edit: dict[str, Any]) -> dict[str, Any]:
    for key, value in edit.items():
        mine = base.get(key)
        base[key] = over(mine, value) if isinstance(mine, dict) else value
    return base


@pytest.fixture(scope="module")
def typed(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, str]]:
    """Every command of the page and what it printed, in a folder where each block was followed."""
    workspace = fresh(tmp_path_factory.mktemp("tutorial") / "workspace")
    config = workspace.path / "config.yaml"
    study = small(yaml.safe_load(config.read_text()))
    config.write_text(yaml.safe_dump(study, sort_keys=False))
    said = []
    for language, text in STEPS:
        if language == "yaml":
            over(study, yaml.safe_load(text))
            config.write_text(yaml.safe_dump(study, sort_keys=False))
        elif language == "bash":
            for line in text.splitlines():
                count = 1 + sum(command == RUN for command, _ in said)
                skip = line == RUN and count in SKIPPED
                said.append((line, "" if skip else type_in(workspace, line)))
    code = "\n".join(text for language, text in STEPS if language == "python")
    said.append(("python", done(workspace, [sys.executable, "-c", code])))
    return said


def type_in(workspace: Workspace, command: str) -> str:
    if command == SHELL:
        return ""  # the environment of the tests is one
    if command == MAKE:
        command = "snakemake --cores 2 --quiet host reason"  # what it does with a built one
    return done(workspace, ["bash", "-c", command])


def done(workspace: Workspace, words: list[str]) -> str:
    found = subprocess.run(
        words,
        cwd=workspace.path,
        env=workspace.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert found.returncode == 0, f"{words}:\n{found.stdout}"
    return found.stdout


def test_make_run_runs_snakemake_as_here() -> None:
    makefile = (REPOSITORY / "Makefile").read_text()
    assert "snakemake --cores $(CORES) --quiet host reason" in makefile


def test_the_page_has_the_commands_that_a_reader_needs(typed: list[tuple[str, str]]) -> None:
    commands = [command for command, _ in typed]
    assert commands[:3] == [MAKE, SHELL, "snakemake -n"]
    assert commands.count("snakemake -n") == 6
    assert commands.count(RUN) == 4


def test_each_edit_trains_what_it_has_to(typed: list[tuple[str, str]]) -> None:
    dry = [job_stats(text) for command, text in typed if command == "snakemake -n"]
    assert dry[0] == dry[-1] == {}
    ends = {"tables": 1, "figures": 1, "report": 1}
    # Five seeds are new to both sides, which have two in the small study.
    assert dry[1] == {"train": 5, "distil": 5, "gate": 2, "probe": 10, **ends}
    assert dry[2] == {"distil": 1, "gate": 1, "probe": 1, **ends}
    # The teacher, both sides of main (1 each) and cue (7 each); and what was skipped above.
    assert dry[3] == {"distil": 1, "gate": 1, "probe": 1 + 2 + 14, **ends}
    # Six students, and the probes of these and of their independent; what was skipped above.
    assert dry[4] == {"distil": 6 + 1, "gate": 1 + 1, "probe": 7 + 17, **ends}


def test_a_finished_study_has_nothing_to_do(typed: list[tuple[str, str]]) -> None:
    dry = [text for command, text in typed if command == "snakemake -n"]
    assert NOTHING in dry[0]
    assert NOTHING in dry[-1]


def test_a_study_is_checked_and_planned(typed: list[tuple[str, str]]) -> None:
    said = dict(typed)
    assert "study 'digits' is valid" in said["kdpipe check config.yaml"]
    assert "jobs" in said["kdpipe plan config.yaml"]


def test_python_reads_tables_and_networks(typed: list[tuple[str, str]]) -> None:
    said = dict(typed)["python"]
    for word in ("colour_hint", "gap_closed", "mnist_cnn", "body.conv1.weight"):
        assert word in said, said


def test_the_page_is_in_the_documentation() -> None:
    assert Path(PAGE).is_file()
