"""A dry run after an edit plans the jobs that depend on the edit, and no others."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from helpers.edits import CODE, ENDS, KL, MEASURED, NEW_OPTION, appended, moved, replaced, setting
from helpers.places import TINY
from helpers.workspace import STUDY, Workspace, job_stats

pytestmark = pytest.mark.workflow


def another_study(workspace: Workspace) -> None:
    """One more study, and the default one edited."""
    (workspace.path / "other.yaml").write_text(TINY.read_text().replace("tiny", "other"))
    with (workspace.path / "config.yaml").open("a") as stream:
        stream.write("title: Another\n")


def keys_reversed(workspace: Workspace) -> None:
    """Options in another order. Names that the user chose keep theirs, which the report follows."""
    chosen = {"sets", "domains", "models", "probes", "pairs", "methods"}

    def turned(value: Any, named: bool = False) -> Any:
        if not isinstance(value, dict):
            return value
        keys = value if named else reversed(value)
        return {key: turned(value[key], key in chosen) for key in keys}

    text = yaml.safe_dump(turned(workspace.study()), sort_keys=False)
    (workspace.path / STUDY).write_text(text)


COMMENT = "\n# A comment.\n"
NEW_PAIR = {
    "teacher": {"model": "big"},
    "student": "small",
    "seeds": [0],
    "methods": {"kl": {"temperature": 8}},
    "probes": ["accuracy", "consensus", "colour"],
}

# A job of the gate looks at the networks of one model, or of one method of a pair.
#
# Of the answers pair (kl): 2 students and 2 independents, each with a unary and a relational job
# of the predictions family, and the teacher with a unary one. Of the features pair (hint): 2
# students and 2 independents, each with a job of the attribution and one of the attack family,
# and the teacher with one of the attack family.
DISTILLED = {"teacher_outputs": 1, "distil": 4}
CASES: dict[str, tuple[Callable[[Workspace], object], dict[str, int]]] = {
    # --- options of probes
    "option of a unary probe": (
        setting("probes.colour.hue", 0.3),
        {"probe": 5, **ENDS},
    ),
    "option of a relational probe": (
        setting("probes.localization.limit", 21),
        {"prepare": 1, "probe": 4, **ENDS},
    ),
    "option of a calibrated probe": (
        setting("probes.adversarial.steps", 3),
        {"calibrate": 1, "prepare": 1, "probe": 5, **ENDS},
    ),
    # --- seeds
    "seed of a model": (
        setting("models.small.seeds", [0, 1, 2]),
        {"train": 1, "gate": 1, "probe": 4, **ENDS},
    ),
    "seed of a pair": (
        setting("pairs.answers.seeds", [0, 1, 2]),
        {"distil": 1, "gate": 1, "probe": 2, **ENDS},
    ),
    # --- more to compare
    "a new objective": (
        setting("pairs.answers.methods.soft_label", {}),
        {"distil": 2, "gate": 1, "probe": 4, **ENDS},
    ),
    "a new pair": (
        setting("pairs.more", NEW_PAIR),
        # A student of two epochs sees every image twice: a table saves a pass of the teacher.
        {"teacher_outputs": 1, "distil": 1, "gate": 1, "probe": 2, **ENDS},
    ),
    # --- training
    # All but the predictions of the independent students that are not compared with the teacher.
    "epochs of the teacher": (
        setting("models.big.training", {"epochs": 3}),
        {"train": 1, **DISTILLED, "gate": 3, "calibrate": 1, "prepare": 2, "probe": 16, **ENDS},
    ),
    "weight of an objective": (
        setting(f"{KL}.alpha", 0.8),
        {"distil": 2, "gate": 1, "probe": 4, **ENDS},
    ),
    "two weights swapped": (
        setting(KL, {"gamma": 0.9, "alpha": 0.1, "temperature": 4}),
        {"distil": 2, "gate": 1, "probe": 4, **ENDS},
    ),
    "recipe of one pair": (
        setting("pairs.features.training", {"lr": 0.5}),
        {"distil": 2, "gate": 1, "probe": 4, **ENDS},
    ),
    "images of the data set": (
        setting("data.sets.few.per_class", 31),
        {**MEASURED, **ENDS},
    ),
    # --- words
    "title": (setting("title", "Another title"), {"report": 1}),
    "the title of a probe": (
        replaced("probes/colour.py", '"Colour invariance"', '"Colours"'),
        {"figures": 1, "report": 1},
    ),
    "the unit of a metric": (
        replaced("probes/consensus.py", '"Cohen\'s κ"', '"kappa"'),
        {"figures": 1, "report": 1},
    ),
    # --- code
    "code of the training loop": (
        appended("training/loop.py", CODE),
        {"train": 3, **DISTILLED, "gate": 4, "calibrate": 1, "prepare": 2, "probe": 18, **ENDS},
    ),
    "code of a probe": (appended("probes/accuracy.py", CODE), {"probe": 5, **ENDS}),
    "a new option with a default": (
        replaced("probes/adversarial.py", "    steps: int", f"{NEW_OPTION}    steps: int"),
        {"calibrate": 1, "prepare": 1, "probe": 5, **ENDS},
    ),
    "code of an objective": (
        appended("distill/kl.py", CODE),
        {"distil": 2, "gate": 1, "probe": 4, **ENDS},
    ),
    "code of a figure": (appended("figures/transfer.py", CODE), {"figures": 1, "report": 1}),
    # What is looked at before measuring repeats no measurement.
    "code of the gate": (appended("models/shared/checks.py", CODE), {"gate": 4, **ENDS}),
    "code of the tables": (appended("results/transfer.py", CODE), ENDS),
    # What waits for the gate has reasons of its own.
    "code of the gate and of a probe": (
        lambda w: (appended("stages/gate.py", CODE)(w), appended("probes/accuracy.py", CODE)(w)),
        {"gate": 4, "probe": 5, **ENDS},
    ),
}

# Each changes nothing that any job depends on.
HARMLESS: dict[str, Callable[[Workspace], None]] = {
    "order of keys": keys_reversed,
    "a number written in another way": setting(f"{KL}.temperature", 4.0),
    "where data lies": setting("data.root", "/nowhere"),
    "comment in the training loop": appended("training/loop.py", COMMENT),
    "docstring of the training loop": replaced(
        "training/loop.py", '"""The training loop: ', '"""The loop: '
    ),
    "layout of the training loop": replaced(
        "training/loop.py",
        "done.steps += 1",
        "done.steps += (\n                1  # one\n            )",
    ),
    "a probe that no pair uses": setting("probes.unused", {"probe": "shift", "set": "few"}),
    "a new option in a probe that the study does not use": replaced(
        "probes/crop.py", "    scales:", f"{NEW_OPTION}    scales:"
    ),
    "another study": another_study,
    "a probe that the study does not use": appended("probes/shift.py", CODE),
    "a new plug-in": appended(
        "probes/brand_new.py",
        "from kdpipe.probes.accuracy import Accuracy\n"
        "from kdpipe.probes import probes\n\n\n"
        '@probes.register("brand_new")\n'
        "class BrandNew(Accuracy):\n"
        '    """Not in any study."""\n',
    ),
    "code of the plan": appended("plan/plan.py", CODE),
    "the text of an error": replaced("training/loop.py", "loss became", "loss turned into"),
    "a printed line": replaced("stages/probe.py", "} records", "} rows"),
    "the description of an option": replaced("training/recipe.py", "Learning rate.", "The rate."),
    "the version of kdpipe": replaced("__init__.py", '"0.1.0"', '"9.9.9"'),
    "a module with another name": moved("base/seeding", "base/streams"),
}


@pytest.mark.parametrize("case", CASES)
def test_exactly_what_depends_on_an_edit_runs_again(finished_copy: Workspace, case: str) -> None:
    edit, expected = CASES[case]
    edit(finished_copy)
    printed, jobs = finished_copy.dry_run_and_why()
    assert job_stats(printed) == expected
    assert len(jobs) == sum(expected.values())


def test_harmless_edits_run_nothing(finished_copy: Workspace) -> None:
    """All at once, and data lying elsewhere as well: if nothing runs, each of them is harmless."""
    for edit in HARMLESS.values():
        edit(finished_copy)
    printed, jobs = finished_copy.dry_run_and_why(KDPIPE_DATA="/elsewhere")
    assert job_stats(printed) == {}
    assert jobs == set()
    assert finished_copy.would_run("--config", "data_root=/somewhere") == {}


def test_a_new_seed_runs_that_seed_only(finished_copy: Workspace) -> None:
    setting("models.small.seeds", [0, 1, 2])(finished_copy)
    done = finished_copy.run("--dry-run")
    jobs = re.findall(r"^Job \d+: ((?:train|distil|probe) .*)$", done.stdout, re.MULTILINE)
    assert len(jobs) == 5, done.stdout
    for job in jobs:
        assert "small, seed 2" in job or "models/small/seed2" in job


def test_a_copy_without_times_runs_nothing(finished: Workspace, tmp_path: Path) -> None:
    """As ``cp -r`` or a bucket leaves it: every file is later than it was, in any order."""
    copy = Workspace(tmp_path / "copy")
    shutil.copytree(finished.path, copy.path, copy_function=shutil.copyfile)
    printed, jobs = copy.dry_run_and_why()
    assert job_stats(printed) == {}
    assert jobs == set()
    # What really changed after the copy still runs what depends on it.
    with (copy.results / "models/big/seed0/model.safetensors").open("ab") as weights:
        weights.write(b"more")
    assert copy.would_run()["distil"] == 4
    shutil.rmtree(copy.path)


def test_an_edit_is_really_done_once(finished_copy: Workspace) -> None:
    """After the run that an edit asks for there is nothing left to do, and the edit shows."""
    setting("title", "Quite another title")(finished_copy)
    done = finished_copy.run()
    assert done.returncode == 0, done.stdout
    assert "Quite another title" in (finished_copy.results / "report.html").read_text()
    assert finished_copy.would_run() == {}
