"""A training interrupted at any moment goes on from here to the same bytes."""

from __future__ import annotations

import hashlib
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import IO, Any, cast

import torch

from kdpipe.base.errors import KdpipeError, PassingError, StoppedError, first_line
from kdpipe.base.provenance import failed_write, sync

VARIABLE = "KDPIPE_CHECKPOINT_SECONDS"
DEFAULT_SECONDS = 120.0
DIGEST_BYTES = hashlib.sha256().digest_size
# Slurm sends SIGUSR1 ahead of the time limit if asked to, SIGTERM with scancel or preemption.
SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)

MAY_GO_ON = (PassingError, StoppedError)


def seconds_between() -> float:
    """Time between two checkpoints, from the environment: it changes no result, so that it is no
    option of a study. Raises KdpipeError if it is not a number."""
    text = os.environ.get(VARIABLE, "")
    try:
        seconds = float(text) if text else DEFAULT_SECONDS
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise KdpipeError(f"{VARIABLE}={text}: give a number of seconds, 0 or more.")
    return seconds


class Checkpoint:
    """State of one training, written between steps when enough time has passed.

    ``path`` lies outside a rule's outputs, which Snakemake deletes when a job fails, and ends in
    the digest of everything that determines the training: a checkpoint of other settings is never
    found. A path of None keeps nothing. The last checkpoint but one stays as ``….previous``.

    Used as a context, it turns the first signal to end into a last checkpoint, after which
    ``save`` raises StoppedError. (Python delivers signals to the main thread only; elsewhere
    they act as ever.) Left in success, or by an error that would come back, such as a loss that
    is no number, it removes what it kept.
    """

    def __init__(self, path: Path | None, seconds: float = DEFAULT_SECONDS) -> None:
        self.path = path
        self.seconds = seconds
        self._last = time.monotonic()
        self._asked: int | None = None
        self._warned = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Checkpoint:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._stop) for number in SIGNALS}
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if kind is None or (issubclass(kind, KdpipeError) and not issubclass(kind, MAY_GO_ON)):
            self.remove()

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self._asked is not None:
            raise KeyboardInterrupt  # a person who presses Ctrl-C twice does not want to wait
        self._asked = number

    def load(self) -> dict[str, Any] | None:
        """The last saved state that can be read, or None."""
        if self.path is None:
            return None
        found = False
        for path in (self.path, _previous(self.path)):
            if not path.is_file():
                continue
            found = True
            try:
                state = read(path)
            except Exception as error:  # torch raises whatever unzipping and unpickling raise
                print(
                    f"The checkpoint {path} cannot be read ({first_line(error)}); looking for an "
                    f"older one.",
                    flush=True,
                )
                # It must not become the older one that is kept.
                with suppress(OSError):
                    path.unlink()
                continue
            return state
        if found:
            print("No checkpoint can be read: training starts from the beginning.", flush=True)
        return None

    def due(self) -> bool:
        """Whether to save now."""
        if self._asked is not None:
            return True
        return self.path is not None and time.monotonic() - self._last >= self.seconds

    def save(self, state: dict[str, Any]) -> None:
        """Keep ``state``. A disk that takes nothing costs a warning, not the training.

        Raises StoppedError when the job has been asked to end.
        """
        kept = self.path is not None and self._write(self.path, state)
        self._last = time.monotonic()
        if self._asked is not None:
            name = signal.Signals(self._asked).name
            what = "run it again to go on from here" if kept else "nothing could be kept"
            raise StoppedError(f"Training was ended by {name}; {what}.", self._asked)

    def _write(self, path: Path, state: dict[str, Any]) -> bool:
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write(temporary, state)
            # At every moment one of the two names holds a whole checkpoint.
            if path.exists():
                os.replace(path, _previous(path))
            os.replace(temporary, path)
            sync(path.parent)
        except OSError as error:
            if not self._warned:
                print(
                    f"The checkpoint {path} cannot be written ({failed_write(error)}): training "
                    f"goes on, but would have to start again from an older one.",
                    flush=True,
                )
            self._warned = True
            return False
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
        return True

    def remove(self) -> None:
        """Remove every checkpoint of this target, also those of earlier settings or code."""
        if self.path is None:
            return
        target = self.path.name.rpartition("-")[0]
        leftovers = [self.path, _previous(self.path)]
        if target:
            for pattern in (f"{target}-*", f".{target}-*.tmp"):
                leftovers += self.path.parent.glob(pattern)
        for path in leftovers:
            with suppress(OSError):
                path.unlink(missing_ok=True)


def _previous(path: Path) -> Path:
    return path.with_name(f"{path.name}.previous")


class _Hashed:
    """A file to write to that knows its digest, and the error that torch turns into another."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream = stream
        self.digest = hashlib.sha256()
        self.error: OSError | None = None
        self.flush: Callable[[], None] = stream.flush

    def write(self, data: Any) -> int:
        try:
            written = self.stream.write(data)
        except OSError as error:
            self.error = error
            raise
        self.digest.update(data)
        return written


def write(path: Path, state: dict[str, Any]) -> None:
    """Write the SHA-256 of the state and the state, down to the disk. Raises OSError."""
    with open(path, "wb") as stream:
        stream.write(bytes(DIGEST_BYTES))
        hashed = _Hashed(stream)
        try:
            torch.save(state, cast(IO[bytes], hashed))
        except RuntimeError:
            raise hashed.error or OSError("torch could not write it") from None
        stream.seek(0)
        stream.write(hashed.digest.digest())
        stream.flush()
        os.fsync(stream.fileno())


def read(path: Path) -> dict[str, Any]:
    """The state in ``path``. Raises ValueError unless the file is as it was written."""
    with open(path, "rb") as stream:
        digest = stream.read(DIGEST_BYTES)
        if hashlib.file_digest(stream, "sha256").digest() != digest:
            raise ValueError("it is not as it was written")
        stream.seek(DIGEST_BYTES)
        return torch.load(stream, weights_only=True)
