"""A job claims GPUs of its machine for itself: one, or one for each process of its training.

Snakemake counts the GPUs of a machine and does not say which one a job gets, and a group of jobs
shares what Slurm gave to all of them. So every job locks a file that stands for a device; the
kernel frees it when the job ends, in whatever way.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from kdpipe.base.errors import PassingError
from kdpipe.base.machine import VISIBLE, visible
from kdpipe.run.lock import lock, patience, wait_for

PATIENCE = "KDPIPE_GPU_SECONDS"
DEFAULT_SECONDS = 300.0
# Not tempfile's folder: a cluster may give one to every job, and then nobody would see a claim.
FOLDER = "KDPIPE_GPU_CLAIMS"
DEFAULT_FOLDER = "/tmp/kdpipe-gpus"


def prepare(compute: Any) -> Any:
    """Settings ``compute`` (a training.compute.Compute) as they hold for this process.

    For GPUs, claims as many as there are processes and hides the others, before CUDA looks at the
    variable that names them. Where there are too few, returns settings for the CPU if
    ``cpu_fallback`` allows it, and says so. Raises PassingError otherwise.
    """
    if compute.device != "cuda" or "RANK" in os.environ:  # torchrun has placed its processes
        return compute
    try:
        device = claim(compute.processes)
    except PassingError as error:
        if not compute.cpu_fallback:
            raise
        print(f"{error} Computing on the CPU, as compute.cpu_fallback allows.", flush=True)
        return compute.model_copy(update={"device": "cpu"})
    os.environ[VISIBLE] = device
    print(f"This job computes on GPU {device}.", flush=True)
    return compute


def claim(count: int = 1) -> str:
    """Claim free visible devices, waiting for them; their names as CUDA_VISIBLE_DEVICES takes them.

    A process keeps its claims for as long as it lives, because CUDA keeps the devices it started
    with, and uses them again: a study in one process claims more only for a job that needs more.

    Raises PassingError where too few are visible or do not get free in time.
    """
    mine = _mine()
    if len(mine.held) >= count:
        return mine.first(count)
    if not mine.held:  # later on the variable names what this process claimed
        mine.seen = visible()
    devices = mine.seen
    if len(devices) < count:
        raise PassingError(
            f"This job was planned for {_gpus(count)}, but {len(devices) or 'none'} is visible "
            f"here ({_seen()}); set compute.device to cpu in the study or run the job where there "
            f"is one for each process."
        )
    seconds, names = patience(PATIENCE, DEFAULT_SECONDS), ", ".join(devices)

    def tell() -> None:
        print(f"Too few of GPU {names} are free; waiting.", flush=True)

    if wait_for(lambda: _lock_several(mine, count) or None, seconds, tell) is None:
        raise PassingError(
            f"Other jobs hold the GPUs that this one may use ({names}) since {seconds:.0f} s; run "
            f"fewer jobs at once (--resources gpu=N)."
        )
    return mine.first(count)


@dataclass
class _Claims:
    """What this process has claimed: the devices in order, each with the handle of its lock."""

    held: dict[str, int] = field(default_factory=dict)
    seen: dict[str, str] = field(default_factory=dict)
    """The devices that were visible before the first claim."""

    def first(self, count: int) -> str:
        return ",".join(list(self.held)[:count])


@cache
def _mine() -> _Claims:
    return _Claims()


def release() -> None:
    """Let go of every claim of this process, which must not have started CUDA."""
    for handle in _mine().held.values():
        os.close(handle)
    _mine.cache_clear()


def _gpus(count: int) -> str:
    return "a GPU" if count == 1 else f"{count} GPUs"


def _lock_several(mine: _Claims, count: int) -> bool:
    """Hold ``count`` devices, or no more than before: two jobs with half of what they need would
    wait for each other."""
    new: dict[str, int] = {}
    for name, identity in mine.seen.items():
        if name in mine.held or len(mine.held) + len(new) == count:
            continue
        if (handle := _lock(identity)) is not None:
            new[name] = handle
    if len(mine.held) + len(new) == count:
        mine.held.update(new)
        return True
    for handle in new.values():
        os.close(handle)
    return False


def _seen() -> str:
    if VISIBLE in os.environ:
        return f"{VISIBLE}={os.environ[VISIBLE]}"
    return "there is no /dev/nvidia0"


def _lock(identity: str) -> int | None:
    """Lock the file of a device; its handle, or None while another process has it.

    Raises PassingError where nothing can be locked, for then nothing could be claimed either.
    """
    folder = Path(os.environ.get(FOLDER) or DEFAULT_FOLDER)
    path = folder / f"{re.sub(r'[^A-Za-z0-9-]', '_', identity)}.lock"
    try:
        if not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o1777)  # all users of the machine share it
        try:
            # For reading, which is enough for a lock: the file may be another user's.
            return lock(path, os.O_RDONLY)
        except FileNotFoundError:
            return lock(path, os.O_RDONLY | os.O_CREAT)
    except OSError as error:
        raise PassingError(
            f"{path} cannot be opened to claim a GPU ({error.strerror}); make the folder writable "
            f"or name another one in {FOLDER}."
        ) from None
