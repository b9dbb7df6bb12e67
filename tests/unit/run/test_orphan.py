"""A job ends with the Snakemake that started it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from kdpipe.run import orphan


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


CHILD = "from kdpipe.run import orphan; import time; orphan.watch(); print('on', flush=True)"


# Like Snakemake: a process that announces itself and starts jobs through a shell.
PARENT = """
import subprocess, sys, time
from kdpipe.run import orphan
orphan.announce()
command = '"$0" -c "$1" > "$2"; true'
shell = subprocess.Popen(["bash", "-c", command, sys.executable, *sys.argv[1:]])
print(shell.pid, flush=True)
shell.wait()
time.sleep(60)
"""


def children(pid: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(words[1]) == pid and words[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


linux = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs Linux")


@linux
@pytest.mark.parametrize("victim", ["snakemake", "shell"])
def test_job_ends_when_something_above_it_is_killed(tmp_path, victim):
    log = tmp_path / "log"
    command = [sys.executable, "-c", PARENT, CHILD + "; time.sleep(60)", str(log)]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    shell = int(parent.stdout.readline())
    try:
        wait_for(lambda: log.exists() and log.read_text() == "on\n")
        (job,) = children(shell)
        time.sleep(0.3)
        assert alive(job)
        os.kill(parent.pid if victim == "snakemake" else shell, signal.SIGKILL)
        wait_for(lambda: not alive(job), 10)
        assert orphan.MESSAGE in log.read_text()
    finally:
        parent.kill()
        parent.wait()


def run_child(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", CHILD + "; time.sleep(0.5); print('done')"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )


@linux
def test_job_whose_snakemake_is_gone_already_does_not_start():
    gone = subprocess.Popen(["true"])
    gone.wait()
    done = run_child({orphan.VARIABLE: f"{gone.pid} {orphan._place()}"})
    assert done.returncode == 143
    assert done.stdout == orphan.MESSAGE + "\n"


@pytest.mark.parametrize("value", ["", "1 another-host pid:[1]"])
def test_outside_a_run_nothing_is_watched(value):
    done = run_child({orphan.VARIABLE: value})
    assert (done.returncode, done.stdout) == (0, "on\ndone\n")


# Like the Snakemake of a Slurm step, whose job takes no notice of being asked to end, or does.
NODE = """
import subprocess, sys, time
from kdpipe.run import orphan
orphan.watch_step()
job = subprocess.Popen(["bash", "-c", sys.argv[1]])
print(job.pid, flush=True)
time.sleep(60)
"""


@linux
@pytest.mark.parametrize("job", ["sleep 60", "trap '' TERM; sleep 60; sleep 60"])
def test_nothing_of_a_step_outlives_slurm(tmp_path, monkeypatch, job):
    # A process is named after the file that it was started from.
    (tmp_path / "slurmstepd").symlink_to(shutil.which("bash"))
    node = NODE.replace("orphan.watch", "orphan.GRACE_SECONDS = 1\norphan.watch")
    command = [tmp_path / "slurmstepd", "-c", '"$0" "$@"; true', sys.executable, "-c", node, job]
    environment = {**os.environ, "SLURM_JOB_ID": "1"}
    step = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    started = int(step.stdout.readline())
    (snakemake,) = children(step.pid)
    try:
        assert alive(started)
        step.kill()
        wait_for(lambda: not alive(snakemake) and not alive(started), 10)
    finally:
        step.kill()
        step.wait()
        for pid in (snakemake, started):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
