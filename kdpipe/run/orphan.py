"""A job ends when the Snakemake that started it is gone, and that one when Slurm's step is.

``kill -9`` of Snakemake leaves its jobs running. Such an orphan would write into the folder of a
run that knows nothing of it, so that it watches the processes between itself and Snakemake.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path

# Set by the Snakemake process that reads the Snakefile, which is the one that starts the shell.
VARIABLE = "KDPIPE_SNAKEMAKE"
# The process that starts a step of a Slurm job on its node.
SLURM = "slurmstepd"
# Time to write a checkpoint.
GRACE_SECONDS = 60.0
MESSAGE = "The Snakemake that started this job is gone, or Slurm on this node; the job ends."


def announce() -> None:
    """Let jobs that this process starts know it."""
    os.environ[VARIABLE] = f"{os.getpid()} {_place()}"


def watch() -> None:
    """End this process when its Snakemake, or a shell between the two, ends.

    In a Slurm job also when the process that watches over the step ends: a node whose daemons die
    keeps running what they started, while Slurm gives the job to another node.

    Does nothing outside a run of Snakemake, in a container with process numbers of its own, and
    on systems other than Linux; there the lock alone keeps an orphan and its successor apart.
    """
    pid, _, place = os.environ.get(VARIABLE, "").partition(" ")
    if not pid or place != _place() or not hasattr(os, "pidfd_open"):
        return
    handles = []
    try:
        for ancestor in (*_ancestors(int(pid)), *_step_of(int(pid))):
            handles.append(os.pidfd_open(ancestor))
    except ProcessLookupError:
        raise SystemExit(_end()) from None
    if handles:
        threading.Thread(target=_wait, args=(handles,), daemon=True).start()


def watch_step() -> None:
    """End this Snakemake, which runs the jobs of a Slurm step, when what watches over it ends.

    Its jobs end by themselves. It would not: its words go to a pipe that nobody reads any more,
    and the error of that, in the middle of its bookkeeping, lets it wait for ever for a job that
    has ended.

    Does nothing outside a Slurm job, and on systems other than Linux.
    """
    if not hasattr(os, "pidfd_open") or not (above := _step_of(os.getpid())):
        return
    with suppress(ProcessLookupError):  # gone in this very moment: the jobs will not start
        handle = os.pidfd_open(above[-1])
        threading.Thread(target=_leave, args=(handle,), daemon=True).start()


def _leave(handle: int) -> None:
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    poll.poll()
    asked: set[int] = set()
    end = time.monotonic() + GRACE_SECONDS
    while (left := _below(os.getpid())) and time.monotonic() < end:
        _send(left - asked, signal.SIGTERM)
        asked |= left
        time.sleep(0.1)
    _send(left, signal.SIGKILL)
    os._exit(128 + signal.SIGTERM)


def _send(pids: set[int], number: int) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _end() -> int:
    print(MESSAGE, flush=True)
    return 128 + signal.SIGTERM


def _wait(handles: list[int]) -> None:
    poll = select.poll()
    for handle in handles:
        poll.register(handle, select.POLLIN)
    poll.poll()
    _end()
    # A training writes a checkpoint at its next step; everything else ends here.
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    os._exit(128 + signal.SIGTERM)


def _ancestors(last: int) -> list[int]:
    """The processes above this one up to ``last``. Raises ProcessLookupError without ``last``."""
    found = []
    pid = os.getpid()
    while pid != last:
        if pid <= 1:
            raise ProcessLookupError
        pid = _parent(pid)[0]
        found.append(pid)
    return found


def _step_of(pid: int) -> list[int]:
    """The processes above ``pid`` up to Slurm's of this step; none outside a Slurm job, and none
    where a site hides other people's processes."""
    if "SLURM_JOB_ID" not in os.environ:
        return []
    found = []
    while pid > 1:
        try:
            pid, name = _parent(pid)
        except ProcessLookupError:
            break
        found.append(pid)
        if name == SLURM:
            return found
    return []


def _below(pid: int) -> set[int]:
    """The processes that ``pid`` has started, and those that they have."""
    started: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            state, above = _about(int(folder.name))[1].split()[:2]
            if state != "Z":
                started.setdefault(int(above), []).append(int(folder.name))
    found: set[int] = set()
    ahead = [pid]
    while ahead:
        new = started.get(ahead.pop(), [])
        found.update(new)
        ahead += new
    return found


def _parent(pid: int) -> tuple[int, str]:
    """The process above ``pid`` and its name. Raises ProcessLookupError when ``pid`` is gone."""
    # The name in parentheses may hold anything; the parent is the second word after it.
    try:
        above = int(_about(pid)[1].split()[1])
        return above, _about(above)[0]
    except OSError:
        raise ProcessLookupError from None


def _about(pid: int) -> tuple[str, str]:
    """A process's name, and what its line in the process table says after it."""
    if pid == 0:
        return "", ""
    name, _, rest = Path(f"/proc/{pid}/stat").read_text().partition("(")[2].rpartition(")")
    return name, rest


def _place() -> str:
    """Where process numbers mean the same: host and process namespace."""
    try:
        space = os.readlink("/proc/self/ns/pid")
    except OSError:
        space = "none"
    return f"{socket.gethostname()} {space}"
