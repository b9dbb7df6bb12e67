"""One process at a time makes a target, also when an earlier run left one behind."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from kdpipe.base.errors import KdpipeError, PassingError

VARIABLE = "KDPIPE_LOCK_SECONDS"
DEFAULT_SECONDS = 300.0
HELD = (errno.EAGAIN, errno.EACCES)


@contextmanager
def hold(root: Path, target: str, out: Path) -> Iterator[None]:
    """Hold the lock of ``target``, a file under ``root/.locks``, which the kernel frees when this
    process ends in whatever way.

    While another process holds it (a job whose Snakemake was killed, a second run), waits; after
    that removes what the other wrote to ``out`` in the meantime. Where the file system has no
    locks, says so and goes on. Raises PassingError when the wait takes too long.
    """
    path = root / ".locks" / f"{target.strip('/').replace('/', '.')}.lock"
    stream = None
    try:
        stream = _wait(path, target, out)
    except OSError as error:
        print(
            f"{path} cannot be locked ({error.strerror}): nothing here keeps two runs from making "
            f"{target} at the same time.",
            flush=True,
        )
    try:
        yield
    finally:
        if stream is not None:
            # While it is still locked, so that nobody else's file is removed.
            with suppress(OSError):
                path.unlink()
            stream.close()


@contextmanager
def hold_run(*roots: Path) -> Iterator[Path]:
    """Hold a folder of results as a whole: the first of ``roots`` that no other run holds.

    Of one folder alone, waits until the other run ends, however long that takes: two runs in one
    folder would mix their networks. Where the file system has no locks, says so and goes on.
    """
    held: TextIO | None = None
    root = roots[0]
    try:
        for root in roots:
            if (held := _try(_run_file(root))) is not None:
                break
        else:
            root = roots[-1]
            held = _wait_for_run(root)
    except OSError as error:
        print(
            f"{_run_file(root)} cannot be locked ({error.strerror}): nothing here keeps two runs "
            f"out of {root}.",
            flush=True,
        )
    try:
        yield root
    finally:
        if held is not None:
            with suppress(OSError):
                _run_file(root).unlink()
            held.close()


def _run_file(root: Path) -> Path:
    return root / ".locks" / "run.lock"


def _wait_for_run(root: Path) -> TextIO:
    print(f"{root} is in use by {_holder(_run_file(root))}; waiting for its end.", flush=True)
    while (held := _try(_run_file(root))) is None:
        time.sleep(0.5)
    return held


def _wait(path: Path, target: str, out: Path) -> TextIO:
    if (stream := _try(path)) is not None:
        return stream
    patience, before = _patience(), _state(out)
    holder = _holder(path)
    print(
        f"{target} is still being made by {holder}, left over from another run; waiting for its "
        f"end, at most {patience:.0f} s.",
        flush=True,
    )
    end = time.monotonic() + patience
    while (stream := _try(path)) is None:
        if time.monotonic() > end:
            raise PassingError(
                f"{target} is still being made by {_holder(path)} after {patience:.0f} s; end that "
                f"process or wait for it, then run again."
            )
        time.sleep(0.2)
    print("It has ended; going on.", flush=True)
    for file, changed in _state(out).items():
        if before.get(file) != changed:
            with suppress(OSError):
                file.unlink()
    return stream


def _try(path: Path) -> TextIO | None:
    """The locked file, or None while somebody else holds it. Raises OSError where locks fail."""
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        stream = path.open("a+")  # as long as the lock is held
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            stream.close()
            if error.errno in HELD:
                return None
            raise
        # The one who held it may have removed the file between the two calls.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(stream.fileno()), path.stat()):
                break
        stream.close()
    with suppress(OSError):  # the text is for people only
        stream.truncate(0)
        stream.write(json.dumps(_self()))
        stream.flush()
    return stream


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


def _patience() -> float:
    text = os.environ.get(VARIABLE, "")
    try:
        return float(text) if text else DEFAULT_SECONDS
    except ValueError:
        raise KdpipeError(f"{VARIABLE}={text}: give a number of seconds.") from None


def _state(out: Path) -> dict[Path, tuple[int, int]]:
    """The files of ``out`` (a file or a folder) and what tells a later version of each."""
    found = {}
    for file in (out, *(out.iterdir() if out.is_dir() else ())):
        with suppress(OSError):
            if file.is_file():
                about = file.stat()
                found[file] = (about.st_mtime_ns, about.st_ino)
    return found
