"""One process at a time makes a target, also when an earlier run left one behind.

``filelock`` locks the files. Which file stands for what, who is named as its holder and how long to
wait for it is said here, for targets and whole runs, and in ``devices`` for GPUs.
"""

from __future__ import annotations

import json
import math
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

from filelock import lock_descriptor

from kdpipe.base.errors import KdpipeError, PassingError

VARIABLE = "KDPIPE_LOCK_SECONDS"
DEFAULT_SECONDS = 300.0
POLL_SECONDS = 0.2

Found = TypeVar("Found")


@contextmanager
def hold(root: Path, target: str, out: Path) -> Iterator[None]:
    """Hold the lock of ``target``, a file under ``root/.locks``, which the kernel frees when this
    process ends in whatever way.

    While another process holds it (a job whose Snakemake was killed, a second run), waits; after
    that removes what the other wrote to ``out`` in the meantime. Where the file system has no
    locks, says so and goes on. Raises PassingError when the wait takes too long.
    """
    path = root / ".locks" / f"{target.strip('/').replace('/', '.')}.lock"
    held = None
    try:
        held = _wait(path, target, out)
    except OSError as error:
        print(
            f"{path} cannot be locked ({error.strerror}): nothing here keeps two runs from making "
            f"{target} at the same time.",
            flush=True,
        )
    with _until_the_end(path, held):
        yield


@contextmanager
def hold_run(*roots: Path) -> Iterator[Path]:
    """Hold a folder of results as a whole: the first of ``roots`` that no other run holds.

    Of one folder alone, waits until the other run ends, however long that takes: two runs in one
    folder would mix their networks. Where the file system has no locks, says so and goes on.
    """
    held, root, path = None, roots[0], roots[0]

    def tell() -> None:
        print(f"{root} is in use by {_holder(path)}; waiting for its end.", flush=True)

    try:
        for root in roots:
            path = root / ".locks" / "run.lock"
            if (held := _take(path)) is not None:
                break
        else:
            held = wait_for(partial(_take, path), math.inf, tell)
    except OSError as error:
        print(
            f"{path} cannot be locked ({error.strerror}): nothing here keeps two runs out of "
            f"{root}.",
            flush=True,
        )
    with _until_the_end(path, held):
        yield root


@contextmanager
def _until_the_end(path: Path, held: int | None) -> Iterator[None]:
    try:
        yield
    finally:
        if held is not None:
            # While it is still locked, so that nobody else's file is removed.
            with suppress(OSError):
                path.unlink()
            os.close(held)


def _wait(path: Path, target: str, out: Path) -> int:
    seconds = patience(VARIABLE, DEFAULT_SECONDS)
    before: dict[Path, tuple[int, int]] | None = None

    def tell() -> None:
        nonlocal before
        before = _state(out)
        print(
            f"{target} is still being made by {_holder(path)}, left over from another run; waiting "
            f"for its end, at most {seconds:.0f} s.",
            flush=True,
        )

    held = wait_for(partial(_take, path), seconds, tell)
    if held is None:
        raise PassingError(
            f"{target} is still being made by {_holder(path)} after {seconds:.0f} s; end that "
            f"process or wait for it, then run again."
        )
    if before is not None:
        print("It has ended; going on.", flush=True)
        for file, changed in _state(out).items():
            if before.get(file) != changed:
                with suppress(OSError):
                    file.unlink()
    return held


def wait_for(
    attempt: Callable[[], Found | None], seconds: float, tell: Callable[[], None]
) -> Found | None:
    """What ``attempt`` gives, repeated for at most ``seconds`` until it gives something.

    ``tell`` is called once, before the wait. None when the time is over.
    """
    if (found := attempt()) is not None:
        return found
    tell()
    end = time.monotonic() + seconds
    while (found := attempt()) is None and time.monotonic() <= end:
        time.sleep(POLL_SECONDS)
    return found


def lock(path: Path, flags: int) -> int | None:
    """The open file ``path``, locked; None while another process holds it.

    ``flags``: how to open it; for reading is enough. Whoever closes the file lets go of the lock.
    Raises OSError where the file cannot be opened or the file system has no locks.
    """
    while True:
        with ExitStack() as opened:
            handle = os.open(path, flags | os.O_CLOEXEC, 0o666)
            opened.callback(os.close, handle)
            if not lock_descriptor(handle, blocking=False):
                return None
            # The one who held it may have removed the file between the two calls.
            if os.fstat(handle).st_nlink:
                opened.pop_all()
                return handle


def _take(path: Path) -> int | None:
    """The locked file of a target or a run, with the name of this process in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    held = lock(path, os.O_RDWR | os.O_CREAT)
    if held is not None:
        with suppress(OSError):  # the text is for people only
            os.truncate(held, 0)
            os.write(held, json.dumps(_self()).encode())
    return held


def _self() -> dict[str, str]:
    who = {"process": str(os.getpid()), "host": socket.gethostname()}
    if job := os.environ.get("SLURM_JOB_ID"):
        who["Slurm job"] = job
    return who


def _holder(path: Path) -> str:
    try:
        who = json.loads(path.read_text())
        job = f" (Slurm job {who['Slurm job']})" if "Slurm job" in who else ""
        return f"process {who['process']} on {who['host']}{job}"
    except (OSError, ValueError, KeyError):
        return "another process"


def patience(variable: str, default: float) -> float:
    """Seconds to wait, as the environment's ``variable`` says."""
    text = os.environ.get(variable, "")
    try:
        return float(text) if text else default
    except ValueError:
        raise KdpipeError(f"{variable}={text}: give a number of seconds.") from None


def _state(out: Path) -> dict[Path, tuple[int, int]]:
    """The files of ``out`` (a file or a folder) and what tells a later version of each."""
    found = {}
    for file in (out, *(out.iterdir() if out.is_dir() else ())):
        with suppress(OSError):
            if file.is_file():
                about = file.stat()
                found[file] = (about.st_mtime_ns, about.st_ino)
    return found
