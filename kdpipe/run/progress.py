"""What a person follows a run by: how far, how long still, and why a job failed."""

from __future__ import annotations

import logging
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TextIO

LAST_LINES = 15


class Progress(logging.Handler):
    """Listens to Snakemake's events beside its own output.

    After every job: the time left, estimated from the mean duration of the jobs of the same rule
    that finished in this run. After a failure: the end of the job's log.
    """

    def __init__(self, workers: int, stream: TextIO | None = None) -> None:
        super().__init__()
        self.workers = max(1, workers)
        self.stream = stream or sys.stderr
        self.waiting: Counter[str] = Counter()
        self.started: dict[int, tuple[str, float]] = {}
        self.durations: dict[str, list[float]] = {}

    def emit(self, record: logging.LogRecord) -> None:
        action = {
            "run_info": self._plan,
            "job_info": self._start,
            "job_finished": self._finish,
            "progress": self._tell,
            "job_error": self._fail,
        }.get(str(getattr(record, "event", "")))
        if action is not None:
            action(record)

    def _plan(self, record: logging.LogRecord) -> None:
        stats = getattr(record, "stats", {})
        self.waiting = Counter({k: int(v) for k, v in stats.items() if k != "total"})

    def _start(self, record: logging.LogRecord) -> None:
        self.started[record.jobid] = (record.rule_name, time.monotonic())  # type: ignore[attr-defined]

    def _finish(self, record: logging.LogRecord) -> None:
        rule, since = self.started.pop(record.job_id, ("", time.monotonic()))  # type: ignore[attr-defined]
        if not rule:
            return
        self.durations.setdefault(rule, []).append(time.monotonic() - since)
        self.waiting[rule] -= 1

    def _tell(self, record: logging.LogRecord) -> None:
        if +self.waiting:
            self._print(left(self.seconds_left()))

    def seconds_left(self) -> float | None:
        """None until some job has finished."""
        known = [d for durations in self.durations.values() for d in durations]
        if not known:
            return None
        overall = sum(known) / len(known)
        total = 0.0
        for rule, count in self.waiting.items():
            own = self.durations.get(rule)
            total += count * (sum(own) / len(own) if own else overall)
        return total / self.workers

    def _fail(self, record: logging.LogRecord) -> None:
        for name in getattr(record, "log", None) or []:
            path = Path(name)
            if path.is_file():
                lines = path.read_text(errors="replace").splitlines()[-LAST_LINES:]
                self._print(f"\n{path} ends with:\n" + "\n".join(f"  {line}" for line in lines))

    def _print(self, text: str) -> None:
        print(text, file=self.stream, flush=True)


def left(seconds: float | None) -> str:
    if seconds is None:
        return "time left not known yet"
    if seconds < 90:
        return f"about {max(1, round(seconds / 10)) * 10} s left"
    if seconds < 5400:
        return f"about {round(seconds / 60)} min left"
    return f"about {seconds / 3600:.1f} h left"
