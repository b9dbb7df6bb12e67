"""One input, one verdict: success, one clear sentence, or a finding."""

from __future__ import annotations

import contextlib
import io
import os
import random
import resource
import shutil
import signal
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from kdpipe.base.errors import KdpipeError

LIMIT = 10
"""Seconds of computing that one input may take."""
PATIENCE = 6
"""How many times as long it may take by the clock, on a busy machine."""
MEMORY = 8 * 2**30
"""Bytes that one input may take, so that a machine with more of it finds the same."""
LONGEST = 3000
"""Characters of a sentence that somebody still reads."""


class HangError(BaseException):
    """No Exception, so that no reader can take it for a damaged file."""


@dataclass(frozen=True)
class Verdict:
    """``kind``: ``success``, ``sentence`` or ``finding``; ``text``: the sentence, or what broke."""

    kind: str
    text: str = ""
    where: str = ""


@contextlib.contextmanager
def limited(seconds: int) -> Iterator[None]:
    """Raise HangError after ``seconds`` of computing; let what wants more than MEMORY have none."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise HangError(f"it took more than {seconds} s")

    kinds = (signal.SIGALRM, signal.SIGPROF)
    before = [signal.signal(kind, ring) for kind in kinds]
    most, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (min(MEMORY, hard) if hard > 0 else MEMORY, hard))
    signal.alarm(PATIENCE * seconds)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.setitimer(signal.ITIMER_PROF, 0)
        resource.setrlimit(resource.RLIMIT_DATA, (most, hard))
        for kind, handler in zip(kinds, before, strict=True):
            signal.signal(kind, handler)


def sentence_flaw(text: str) -> str | None:
    """What is wrong with an error for people, if anything."""
    if "\n" in text or "Traceback" in text:
        return "it has several lines"
    if not text.rstrip().endswith("."):
        return "it does not end as a sentence"
    if len(text) > LONGEST:
        return f"it has {len(text)} characters"
    return None


def judge(subject: object, seed: object, sandbox: Path, seconds: int = LIMIT) -> Verdict:
    """Run ``subject`` on the input of ``seed`` in ``sandbox``, which is emptied before
    and has nothing beside it."""
    shutil.rmtree(sandbox, ignore_errors=True)
    inside, elsewhere = sandbox / "inside", sandbox / "elsewhere"
    inside.mkdir(parents=True)
    elsewhere.mkdir()
    verdict = Verdict("success")
    with contextlib.chdir(elsewhere), contextlib.redirect_stdout(io.StringIO()):
        try:
            with limited(seconds):
                subject(random.Random(str(seed)), inside)  # type: ignore[operator]
        except KdpipeError as error:
            verdict = Verdict("sentence", str(error))
            if flaw := sentence_flaw(str(error)):
                verdict = Verdict("finding", f"{flaw}: {str(error)[:500]}", _place(error))
        except (Exception, HangError) as error:
            verdict = Verdict("finding", f"{type(error).__name__}: {error}"[:500], _place(error))
    if strays := [str(p) for p in _strays(sandbox)]:
        verdict = Verdict("finding", f"files outside the results: {strays}", "")
    return verdict


def _strays(sandbox: Path) -> list[Path]:
    """Files that nobody should have written, with the half-written ones among the results."""
    allowed = {"results", "data", "study.yaml", "part.yaml"}
    found = [sandbox / name for name in os.listdir(sandbox) if name not in ("inside", "elsewhere")]
    found += (sandbox / "elsewhere").iterdir()
    found += [p for p in sandbox.parent.iterdir() if p != sandbox]
    found += [p for p in (sandbox / "inside").iterdir() if p.name not in allowed]
    if (results := sandbox / "inside" / "results").is_dir():
        found += results.rglob("*.tmp")
    return found


def _place(error: BaseException) -> str:
    """The last lines of the trace in kdpipe, to tell findings apart."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "/kdpipe/" in f.filename]
    return " < ".join(f"{Path(f.filename).name}:{f.lineno}" for f in reversed(frames[-3:]))
