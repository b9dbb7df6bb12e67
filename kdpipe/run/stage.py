"""One call of one stage, whoever asks for it: a rule, a person, or a run in one process.

What every stage needs and no stage should have to think of: a lock on what it makes, a GPU of its
own, an end when its Snakemake is gone, no second try of what cannot succeed, and a log that may
run full.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from kdpipe.base.errors import KdpipeError, PassingError, StoppedError
from kdpipe.base.options import Options
from kdpipe.base.out_of_memory import memory_said
from kdpipe.base.provenance import remove_half_written
from kdpipe.run import devices, times
from kdpipe.run.lock import hold
from kdpipe.stages.base import Call, Stage


def run_stage(
    stage: str,
    settings_json: str,
    root: Path,
    out: Path,
    *,
    code: str = "",
    attempt: int = 1,
    data_root: Path | None = None,
) -> None:
    """Run ``stage`` with the settings ``settings_json`` and write ``out`` (a file or a folder).

    ``code``: digest of the code, without which nothing is kept for a second try. ``attempt``
    counts from 1 within one run of Snakemake.

    Of several processes that torchrun started for one target, the first one holds its lock.

    Raises KdpipeError when the settings are not valid, another process makes the same target, or
    the stage fails.
    """
    with ExitStack() as kept:
        kept.enter_context(_data_at(data_root))
        first = int(os.environ.get("RANK", "0")) == 0
        if first:
            kept.enter_context(hold(root, target_of(root, out), out))
            marker = _marker(root, stage, settings_json, out, code)
            kept.enter_context(_failure_kept(marker, attempt))
            for written in (out, times.note_of(root, target_of(root, out))):
                remove_half_written(written)
        made: Stage[Any] = importlib.import_module(f"kdpipe.stages.{stage}").STAGE
        kept.enter_context(memory_said(target_of(root, out)))
        settings = _on_this_machine(_validated(made.settings, settings_json))
        made.run(settings, Call(root, out, code, data_root))
        if first and out.absolute().is_relative_to(root.absolute()):
            times.note(root, target_of(root, out))


def _on_this_machine(job_settings: Any) -> Any:
    """``job_settings`` with a GPU claimed, or as it holds without one. Before CUDA starts."""
    if not hasattr(job_settings, "compute"):
        return job_settings
    return job_settings.model_copy(update={"compute": devices.prepare(job_settings.compute)})


@contextmanager
def _data_at(data_root: Path | None) -> Iterator[None]:
    """Let KDPIPE_DATA say where data lies, as in a job that Snakemake starts.

    Images that are decoded on the fly are read wherever the data lies now, not where it lay when
    the subset was made.
    """
    before = os.environ.get("KDPIPE_DATA")
    if data_root is not None:
        os.environ["KDPIPE_DATA"] = str(data_root)
    try:
        yield
    finally:
        if before is None:
            os.environ.pop("KDPIPE_DATA", None)
        else:
            os.environ["KDPIPE_DATA"] = before


def target_of(root: Path, out: Path) -> str:
    """The name of what a job makes, such as ``models/teacher/seed0``."""
    out, root = out.absolute(), root.absolute()
    return str(out.relative_to(root) if out.is_relative_to(root) else out)


def _validated(model: type[Options], text: str) -> Any:
    from pydantic import ValidationError

    from kdpipe.base.plugin import explain

    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        raise KdpipeError(f"--slice: {explain(error)}.") from None


def _marker(root: Path, stage: str, settings_json: str, out: Path, code: str) -> Path | None:
    if not code:
        return None
    words = "\0".join((stage, target_of(root, out), settings_json, code))
    return root / ".failures" / f"{hashlib.sha256(words.encode()).hexdigest()[:32]}.txt"


@contextmanager
def _failure_kept(marker: Path | None, attempt: int) -> Iterator[None]:
    """A retry of what failed for good repeats the sentence instead of the work.

    The first attempt of a run forgets what earlier runs noted: a person may have mended a file
    that no digest covers. So a marker always is of the run under way, and its inputs are those
    of the job.
    """
    if marker is None:
        yield
        return
    if attempt > 1 and marker.is_file():
        raise KdpipeError(
            f"{marker.read_text().strip()} (Not tried again, because nothing changed since the "
            f"last attempt; delete {marker} to insist.)"
        )
    with suppress(OSError):
        marker.unlink(missing_ok=True)
    try:
        yield
    except (PassingError, StoppedError):
        raise
    except KdpipeError as error:
        with suppress(OSError):
            marker.parent.mkdir(parents=True, exist_ok=True)
            marker.write_text(f"{error}\n")
        raise


class ForgivingStream:
    """Standard output that may run full: a line of the log is lost, never the job."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def forgive_output() -> None:
    """Let this process go on when its standard output or error cannot be written."""
    sys.stdout = ForgivingStream(sys.stdout)  # type: ignore[assignment]
    sys.stderr = ForgivingStream(sys.stderr)  # type: ignore[assignment]
