"""A stage as every rule calls it: lasting failures are kept, others are tried again."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import pytest

from kdpipe.base.errors import KdpipeError, PassingError, StoppedError
from kdpipe.base.options import Options
from kdpipe.base.provenance import canonical
from kdpipe.run import stage as jobs
from kdpipe.stages.base import Call, Stage

# Failures that last


class FakeSettings(Options):
    level: int = 0


class FakeStage:
    """A stage ``fake`` that ends as it is told and counts its calls."""

    def __init__(self) -> None:
        self.ends: BaseException | None = None
        self.calls = 0

    def module(self) -> types.ModuleType:
        def run(job_settings: FakeSettings, call: Call) -> None:
            self.calls += 1
            if self.ends is not None:
                raise self.ends

        module = types.ModuleType("kdpipe.stages.fake")
        module.STAGE = Stage(FakeSettings, run)
        return module


@pytest.fixture
def stage(monkeypatch) -> FakeStage:
    fake = FakeStage()
    monkeypatch.setitem(sys.modules, "kdpipe.stages.fake", fake.module())
    return fake


def call(root: Path, level: int = 0, code: str = "c", attempt: int = 1, out: str = "it") -> None:
    settings = canonical({"level": level})
    jobs.run_stage("fake", settings, root, root / out, code=code, attempt=attempt)


def markers(root: Path) -> list[Path]:
    return list((root / ".failures").glob("*"))


def test_what_a_killed_process_left_half_written_goes(tmp_path, stage):
    """Beside the output, in it, and beside the note of its times, where a kill hit once."""
    left = [".it.71.tmp", "it/.weights.71.tmp", "logs/.times/.it.json.71.tmp"]
    others = [".other.71.tmp", "logs/.times/.other.json.71.tmp"]
    for name in (*left, *others):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    call(tmp_path)
    assert [name for name in left if (tmp_path / name).exists()] == []
    assert [name for name in others if not (tmp_path / name).exists()] == []


def test_retry_repeats_a_lasting_failure_without_computing(tmp_path, stage):
    stage.ends = KdpipeError("The loss became nan in epoch 3.")
    with pytest.raises(KdpipeError) as first:
        call(tmp_path)
    with pytest.raises(KdpipeError) as second:
        call(tmp_path, attempt=2)
    assert stage.calls == 1
    (marker,) = markers(tmp_path)
    assert str(second.value).startswith(str(first.value))
    assert f"delete {marker} to insist" in str(second.value)
    marker.unlink()
    with pytest.raises(KdpipeError):
        call(tmp_path, attempt=3)
    assert stage.calls == 2


def test_first_attempt_tries_again_and_success_forgets(tmp_path, stage):
    """A person may have mended a file that is no part of any digest."""
    stage.ends = KdpipeError("The file is corrupt.")
    with pytest.raises(KdpipeError):
        call(tmp_path)
    stage.ends = None
    call(tmp_path)
    assert stage.calls == 2
    assert markers(tmp_path) == []
    call(tmp_path, attempt=2)
    assert stage.calls == 3


@pytest.mark.parametrize("changed", [{"level": 1}, {"code": "d"}, {"out": "other"}], ids=str)
def test_failure_of_other_settings_code_or_target_does_not_count(tmp_path, stage, changed):
    stage.ends = KdpipeError("No.")
    with pytest.raises(KdpipeError):
        call(tmp_path)
    stage.ends = None
    call(tmp_path, attempt=2, **changed)
    assert stage.calls == 2


@pytest.mark.parametrize(
    "error",
    [PassingError("full"), StoppedError("ended", 15), KeyboardInterrupt(), MemoryError()],
    ids=repr,
)
def test_what_may_be_gone_next_time_is_tried_again(tmp_path, stage, error):
    stage.ends = error
    for attempt in (1, 2):
        with pytest.raises(PassingError if isinstance(error, MemoryError) else type(error)):
            call(tmp_path, attempt=attempt)
    assert stage.calls == 2
    assert markers(tmp_path) == []


def test_without_a_digest_of_the_code_nothing_is_noted(tmp_path, stage):
    stage.ends = KdpipeError("No.")
    for attempt in (1, 2):
        with pytest.raises(KdpipeError):
            call(tmp_path, code="", attempt=attempt)
    assert stage.calls == 2


def test_half_written_files_of_a_killed_process_are_removed(tmp_path, stage):
    half = [
        tmp_path / "tables" / ".transfer.csv.123.tmp",
        tmp_path / ".report.html.9.tmp",
    ]
    others = [tmp_path / "tables" / "transfer.csv", tmp_path / ".other.html.9.tmp"]
    for file in (*half, *others):
        file.parent.mkdir(exist_ok=True)
        file.touch()
    call(tmp_path, out="tables")
    call(tmp_path, out="report.html")
    assert not any(file.exists() for file in half)
    assert all(file.exists() for file in others)


def test_settings_that_are_not_valid_end_in_one_sentence(tmp_path, stage):
    with pytest.raises(KdpipeError, match=r"^--slice: there is no option 'lvel'\.$"):
        jobs.run_stage("fake", '{"lvel": 1}', tmp_path, tmp_path / "it")


# Locks


# Orphans


# The command line
