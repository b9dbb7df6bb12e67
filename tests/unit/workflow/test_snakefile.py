"""The Snakefile's interface to kdpipe, on the planning machine and on a job's node."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from helpers.places import TINY
from kdpipe.base.errors import KdpipeError
from kdpipe.run import orphan
from kdpipe.study.compute import ComputeWish
from kdpipe.study.schema import load
from kdpipe.workflow import snakefile as workflow
from kdpipe.workflow.snakefile import check_writable


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("PATH", "PYTHONPATH", "KDPIPE_DATA", orphan.VARIABLE, *workflow.ALLOCATOR):
        monkeypatch.setenv(name, os.environ.get(name, ""))
    for name in (workflow.PLANNED, workflow.GROUPED, workflow.DATA_OF):
        monkeypatch.setenv(name, "")
    handler = signal.getsignal(signal.SIGUSR1)
    yield
    signal.signal(signal.SIGUSR1, handler)


def test_a_node_keeps_to_what_auto_became_where_the_study_was_planned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    study = yaml.safe_load(TINY.read_text())
    wish = ComputeWish(**study.get("compute", {}))
    there = wish.model_copy(update={"device": "cuda", "precision": "bf16"}).resolve()
    with monkeypatch.context() as patch:
        patch.setattr(ComputeWish, "resolve", lambda wish: there)
        planned = workflow.open_plan(study)
        told = os.environ[workflow.PLANNED]
    assert workflow.open_plan(study).compute != there
    monkeypatch.setenv(workflow.PLANNED, told)
    node = workflow.open_plan(study, on_node=True)
    assert node.compute == there
    assert {j: node.jobs[j].settings_json for j in node.jobs} == {
        j: planned.jobs[j].settings_json for j in planned.jobs
    }


def test_snakemake_on_a_node_survives_slurms_warning() -> None:
    workflow.open_plan(yaml.safe_load(TINY.read_text()), on_node=True)
    assert signal.getsignal(signal.SIGUSR1) == signal.SIG_IGN


def test_a_node_groups_as_it_is_told() -> None:
    plan = workflow.open_plan(yaml.safe_load(TINY.read_text()))
    sizes = workflow.estimate(plan)
    assert workflow.small_trainings(plan, sizes)
    assert workflow.small_trainings(plan, None)
    assert workflow.training_retries(sizes) == 3
    assert workflow.training_retries(None) is None


def test_no_shell_stands_between_a_job_and_a_signal() -> None:
    assert workflow.command("train").startswith("exec python -m kdpipe train --root ")


def test_a_study_that_includes_others_is_planned_as_it_is_loaded(tmp_path: Path) -> None:
    """Snakemake reads the file alone and tells which it was; --config lies over it."""
    (tmp_path / "parts").mkdir()
    shutil.copy(TINY, tmp_path / "parts" / "tiny.yaml")
    path = tmp_path / "mine.yaml"
    path.write_text("include: parts/tiny.yaml\nstudy: mine\ntraining: {epochs: 2}\n")
    config = yaml.safe_load(path.read_text())
    plan = workflow.open_plan({**config, "data_root": "/data"}, files=[path])
    assert plan.study == load(path)
    assert plan.study.models["big"].training.epochs == 2
    assert workflow.open_plan({**config, "title": "new"}, files=[path]).study.title == "new"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Folders that the operating system was asked about; those called ``shut`` are not writable."""
    seen: list[str] = []

    def access(path: Path, _mode: int) -> bool:
        seen.append(str(path))
        return Path(path).name != "shut"

    monkeypatch.setattr(os, "access", access)
    return seen


def test_folders_that_jobs_write_to(tmp_path: Path, asked: list[str]) -> None:
    root = tmp_path / "results" / "s"
    for folder in ("models/a/seed0", "probes/shut", "teacher_outputs/old/deep", "logs/models"):
        (root / folder).mkdir(parents=True)
    check_writable(root, ["models/a/seed0", "models/b/seed0", "report.html"])
    wanted = {"", "models/a/seed0", "models", "logs"}
    assert {str(Path(path).relative_to(root)).removeprefix(".") for path in asked} == wanted
    with pytest.raises(KdpipeError, match="probes/shut cannot be written to; make it writable"):
        check_writable(root, ["models/a/seed0", "probes/shut/cka"])


def test_first_run_asks_for_the_folder_that_is_there(tmp_path: Path, asked: list[str]) -> None:
    check_writable(tmp_path / "results" / "s", ["models/a/seed0"])
    assert asked == [str(tmp_path)]


def test_where_data_and_results_lie_is_no_part_of_a_study() -> None:
    study = yaml.safe_load(TINY.read_text())
    beside = {"data_root": "/data", "results_root": "out/", "pathvars": {"results": "elsewhere"}}
    assert workflow.open_plan({**study, **beside}).study == load(TINY)
    assert os.environ["KDPIPE_DATA"] == "/data"
    assert workflow.results_folder(beside, "elsewhere") == "out"
    assert workflow.results_folder(study, "elsewhere") == "elsewhere"
    assert workflow.results_folder(study) == "results"


def test_two_studies_of_a_workflow_keep_what_auto_became(monkeypatch: pytest.MonkeyPatch) -> None:
    first = yaml.safe_load(TINY.read_text())
    second = {**first, "study": "second"}
    there = ComputeWish(**first.get("compute", {}))
    there = there.model_copy(update={"device": "cuda", "precision": "bf16"}).resolve()
    with monkeypatch.context() as patch:
        patch.setattr(ComputeWish, "resolve", lambda wish: there)
        workflow.open_plan(first)
    other = workflow.open_plan(second)
    assert workflow.open_plan(first, on_node=True).compute.device == "cuda"
    assert workflow.open_plan(second, on_node=True).compute == other.compute
    assert workflow.small_trainings(other, workflow.estimate(other))
    assert not workflow.small_trainings(workflow.open_plan(first, on_node=True), None)


def test_two_studies_of_a_workflow_share_their_place_of_data() -> None:
    first = {**yaml.safe_load(TINY.read_text()), "data_root": "/data"}
    workflow.open_plan(first)
    workflow.open_plan({**first, "study": "second"})
    with pytest.raises(KdpipeError, match=r"'tiny' and 'third' .* /data and /other; put the data"):
        workflow.open_plan({**first, "study": "third", "data_root": "/other"})


def test_no_study_is_said() -> None:
    with pytest.raises(KdpipeError, match="There is no study; name its file with --configfile"):
        workflow.open_plan({})


@pytest.mark.parametrize(("before", "after"), [({"PYTHONPATH": "/x"}, ":/x"), ({}, "")])
def test_a_shell_in_conda_looks_for_kdpipe_first(
    monkeypatch: pytest.MonkeyPatch, before: dict[str, str], after: str
) -> None:
    """Snakemake formats the prefix, the shell expands it: neither stumbles over a folder's name."""
    monkeypatch.setattr(workflow.project, "alone", lambda folder: Path("/a b/{c}$d"))
    line = workflow.prefix_in_conda().format() + 'echo "$PYTHONPATH"'
    done = subprocess.run(["bash", "-c", line], env=before, capture_output=True, text=True)
    assert done.stdout == f"/a b/{{c}}$d{after}\n", done.stderr
