"""Memory that a job requests grows after the kernel or Slurm killed it for memory."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import pytest

from kdpipe.run import memory

TRAIN, DISTIL = "models/big/seed0", "students/features/hint/seed0"


def error(root: Path, target: str, **about: Any) -> logging.LogRecord:
    record = logging.makeLogRecord({"event": "job_error", **about})
    record.log = [str(root / "logs" / f"{target}.log"), "/elsewhere/slurm.log"]
    return record


@pytest.mark.parametrize("version", [1, 2])
def test_memory_grows_after_a_kill_for_memory_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    groups, about = tmp_path / "cgroup", tmp_path / "self"
    events = groups / ("job/memory.events" if version == 2 else "memory/job/memory.oom_control")
    events.parent.mkdir(parents=True)
    events.write_text("low 0\noom_kill 3\n")
    about.write_text("0::/job\n" if version == 2 else "7:cpu:/x\n4:memory:/job\n")
    read = memory.kills
    monkeypatch.setattr(memory, "kills", lambda g: read(g, about))
    watch = memory.Watch(tmp_path, groups)
    watch.emit(error(tmp_path, TRAIN))
    assert memory.factor(tmp_path, TRAIN) == 1
    events.write_text("low 0\noom_kill 4\n")
    watch.emit(error(tmp_path, TRAIN))
    watch.emit(error(tmp_path, DISTIL))
    assert memory.factor(tmp_path, TRAIN) == 2
    assert memory.factor(tmp_path, DISTIL) == 1
    watch.emit(error(tmp_path, TRAIN, rule_msg="SLURM status is: 'OUT_OF_MEMORY'"))
    assert memory.factor(tmp_path, TRAIN) == 4
    watch.emit(logging.makeLogRecord({"event": "job_finished"}))
    assert memory.factor(tmp_path, TRAIN) == 4


def test_memory_of_a_group_grows_where_slurm_says_so(tmp_path: Path) -> None:
    """Snakemake drops the reason of a group: what Slurm wrote into its output is left."""
    groups = tmp_path / "no-cgroup"
    output = tmp_path / "slurm.log"
    logs = [{"log": [str(tmp_path / "logs" / f"{target}.log")]} for target in (TRAIN, DISTIL)]

    def failed(watch: memory.Watch) -> tuple[int, int]:
        about = {"job_error_info": logs, "aux_logs": [str(output), str(tmp_path / "missing")]}
        watch.emit(logging.makeLogRecord({"event": "group_error", **about}))
        for log in logs:  # Snakemake speaks of every member as well
            watch.emit(logging.makeLogRecord({"event": "job_error", **log}))
        return memory.factor(tmp_path, TRAIN), memory.factor(tmp_path, DISTIL)

    watch = memory.Watch(tmp_path, groups)
    output.write_text("slurmstepd: error: *** STEP 7.0 CANCELLED DUE TO TIME LIMIT ***\n")
    assert failed(watch) == (1, 1)
    output.write_text("slurmstepd: error: Detected 1 oom_kill event in StepId=7.0. Some of the")
    assert failed(watch) == (2, 2)
    # The Snakemake on the node has lived to say which job it was: only that one grows.
    memory.note(tmp_path, TRAIN, "killed by the kernel for memory")
    assert failed(watch) == (4, 2)
    assert failed(watch) == (8, 4)
    # What earlier runs noted is no news.
    assert failed(memory.Watch(tmp_path, groups)) == (8, 8)


def test_growth_of_memory_ends_and_is_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(10):
        memory.note(tmp_path, TRAIN, "killed by the kernel for memory")
    assert memory.factor(tmp_path, TRAIN) == 8
    later = time.time() + 40 * 86_400
    monkeypatch.setattr(time, "time", lambda: later)
    assert memory.factor(tmp_path, TRAIN) == 1
    memory.note(tmp_path, TRAIN, "killed by the kernel for memory")
    assert memory.factor(tmp_path, TRAIN) == 2
