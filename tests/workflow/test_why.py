"""``kdpipe why`` lists the jobs that Snakemake would run, with the reason in words."""

from __future__ import annotations

import base64
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers.edits import CODE, KL, appended, setting
from helpers.workspace import Workspace, job_stats

pytestmark = pytest.mark.workflow

ENDS = {"tables", "figures", "report.html"}
STUDENT = "students/answers/kl/seed0"


def marked_incomplete(workspace: Workspace) -> None:
    output = f"results/tiny/{STUDENT}/model.json"
    name = base64.urlsafe_b64encode(output.encode()).decode()
    (workspace.path / ".snakemake/incomplete").mkdir(exist_ok=True)
    (workspace.path / ".snakemake/incomplete" / name).write_text('{"external_jobid": null}')


def without(path: str) -> Callable[[Workspace], None]:
    def remove(workspace: Workspace) -> None:
        target = workspace.results / path
        shutil.rmtree(target) if target.is_dir() else target.unlink()

    return remove


def touched(path: str) -> Callable[[Workspace], None]:
    return lambda workspace: os.utime(workspace.results / path)


def made_anew(path: str) -> Callable[[Workspace], None]:
    def change(workspace: Workspace) -> None:
        with (workspace.results / path).open("ab") as file:
            file.write(b"more")

    return change


# What happened to the results, how many jobs run, and what is said of the first of these targets.
STATES: dict[str, tuple[Callable[[Workspace], object], int, str, str]] = {
    "a table is gone": (
        without("tables/transfer.csv"),
        3,
        "tables",
        "results/tiny/tables/transfer.csv is missing",
    ),
    "weights are gone, and nothing needs them": (
        without(f"{STUDENT}/model.safetensors"),
        0,
        STUDENT,
        "would not run: nothing that runs needs what is missing of its outputs.",
    ),
    "weights are gone, and a probe is to run": (
        lambda w: (
            without(f"{STUDENT}/model.safetensors")(w),
            appended("probes/accuracy.py", CODE)(w),
        ),
        # five unary jobs and what they need, the student's relational one and its gate after it
        5 + 1 + 1 + 1 + 3,
        STUDENT,
        f"results/tiny/{STUDENT}/model.safetensors is missing",
    ),
    "weights were made anew": (
        made_anew(f"{STUDENT}/model.safetensors"),
        6,
        f"probes/{STUDENT}/unary/predictions",
        f"its input results/tiny/{STUDENT}/model.safetensors was made anew",
    ),
    "weights were made anew, as they were": (
        touched(f"{STUDENT}/model.safetensors"),
        0,
        f"probes/{STUDENT}/unary/predictions",
        "would not run: settings, code and inputs are those it was made with.",
    ),
    "a small file was made anew, as it was": (
        touched("subset/few/subset.json"),
        0,
        "subset/few",
        "would not run: settings, code and inputs are those it was made with.",
    ),
    "Snakemake's records are gone": (
        lambda w: shutil.rmtree(w.path / ".snakemake" / "metadata"),
        0,
        STUDENT,
        "Snakemake did not make them here and notices no change of settings or code",
    ),
    "a training was interrupted": (marked_incomplete, 7, STUDENT, "it was interrupted"),
}


@pytest.mark.parametrize("case", STATES)
def test_states_of_the_results(finished_copy: Workspace, case: str) -> None:
    happen, count, target, words = STATES[case]
    happen(finished_copy)
    _, jobs = finished_copy.dry_run_and_why()
    assert len(jobs) == count, jobs
    assert words in finished_copy.why(target)


def test_before_the_first_run(empty: Workspace) -> None:
    _, jobs = empty.dry_run_and_why()
    assert len(jobs) == 37
    assert "train models/big/seed0 would run:\n  it never ran" in empty.why("models/big/seed0")


def test_changes_in_words(finished_copy: Workspace) -> None:
    setting("probes.colour.hue", 0.3)(finished_copy)
    setting(f"{KL}.temperature", 5)(finished_copy)
    appended("training/recipe.py", CODE)(finished_copy)
    assert finished_copy.why(STUDENT).splitlines() == [
        f"distil {STUDENT} would run:",
        "  objective: `temperature` changed from 4.0 to 5.0",
        "  kdpipe/training/recipe.py changed",
        "  after train models/big/seed0 and 1 more: kdpipe/training/recipe.py changed",
    ]
    said = finished_copy.why("probes/models/big/seed0/unary/predictions").splitlines()
    assert said[0] == "probe predictions of models/big/seed0 would run:"
    assert re.fullmatch(r"  colour: `hue` changed from [\d.]+ to 0.3", said[1])
    assert "  after train models/big/seed0: kdpipe/training/recipe.py changed" in said
    assert "colour: `hue` changed" in finished_copy.why("tables")
    summary = finished_copy.why()
    assert summary.startswith("36 of 37 jobs would run.\n")
    assert "objective: `temperature` changed from 4.0 to 5.0: 2 distil" in summary


def fake_version(folder: Path) -> str:
    """A folder for PYTHONPATH in which scipy claims another version."""
    about = folder / "scipy-0.0.1.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: scipy\nVersion: 0.0.1\n")
    return str(folder)


def test_another_version_is_reported_and_reruns_nothing(
    finished_copy: Workspace, tmp_path: Path
) -> None:
    other = fake_version(tmp_path / "other")
    printed, jobs = finished_copy.dry_run_and_why(PYTHONPATH=other)
    assert job_stats(printed) == {}
    assert jobs == set()
    said = finished_copy.why("models/big/seed0", PYTHONPATH=other)
    assert re.search(
        r"would not run: .*\n  made with other versions: scipy was [\d.]+ and is 0\.0\.1 "
        r"\(no reason to run: rerun_on_versions of the study is false\)",
        said,
    )
    # subset, 3 trained, 4 distilled, 1 calibrated
    assert "the provenance of 9 artefacts" in finished_copy.why(PYTHONPATH=other)


def test_another_version_is_a_reason_when_asked_for(empty: Workspace, tmp_path: Path) -> None:
    other = fake_version(tmp_path / "other")
    setting("rerun_on_versions", True)(empty)
    assert empty.run("subset").returncode == 0
    assert empty.would_run("subset") == {}
    assert empty.would_run("subset", PYTHONPATH=other) == {"pick_subset": 1}
    said = empty.why("subset/few", PYTHONPATH=other)
    assert re.search(r"would run:\n  scipy was [\d.]+ and is 0\.0\.1\n", said)


def test_unknown_target_names_what_is_near(finished_copy: Workspace) -> None:
    with pytest.raises(Exception, match="returned non-zero") as caught:
        finished_copy.why("models/bigg/seed0")
    said = caught.value.stderr
    assert "has no job that makes 'models/bigg/seed0'; did you mean models/big/seed0" in said
    assert "Traceback" not in said
