"""Which jobs ran out of memory: only they get more of it when they are tried again.

A retry alone says nothing of why: a node may have been lost. The kernel counts the processes that
it killed for memory in each control group; Snakemake, which lives in the group of its jobs,
compares when a job fails.
"""

from __future__ import annotations

import logging
import re
import time
from contextlib import suppress
from pathlib import Path

FOLDER = ".memory"
GROWTH, LARGEST = 2, 8
DAYS = 30
"""After so many days a job starts again with what is estimated: another job may have been the one
that was too large, or the study is another one by now."""
GROUPS = Path("/sys/fs/cgroup")
# What Slurm writes into the output of a submission, in older and newer versions.
OOM = re.compile(r"Detected \d+ oom.kill event")


def factor(root: str | Path, target: str) -> int:
    """By how much to multiply the memory of a job: 2 for every time it ran out of it lately, at
    most 8: a job that needs more than that would need any amount."""
    return min(LARGEST, GROWTH ** _times(_note(root, target)))


def note(root: str | Path, target: str, why: str) -> None:
    """Remember, outside of a job's outputs, that it ran out of memory."""
    path = _note(root, target)
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as stream:
            stream.write(f"{time.time():.0f} {why}\n")


def _times(path: Path, days: float = DAYS) -> int:
    """How often it ran out of memory in the last ``days``."""
    since, found = time.time() - days * 86_400, 0
    with suppress(OSError):
        for line in path.read_text().splitlines():
            when = line.partition(" ")[0]
            found += when.isdigit() and int(when) >= since
    return found


def _note(root: str | Path, target: str) -> Path:
    return Path(root) / FOLDER / f"{target.replace('/', '.')}.txt"


class Watch(logging.Handler):
    """Listens to Snakemake's events for jobs that failed because of their memory.

    On a node it asks the kernel, and knows which job of a group it was. Where jobs are submitted
    from, it reads the scheduler's reason, or Slurm's own log of the submission: both count only
    if nobody on the node was left to note it.
    """

    def __init__(self, root: str | Path, groups: Path = GROUPS) -> None:
        super().__init__()
        self.root = Path(root)
        self.groups = groups
        self.killed = kills(groups)
        self.noted = {path: _times(path) for path in (self.root / FOLDER).glob("*")}

    def emit(self, record: logging.LogRecord) -> None:
        event = str(getattr(record, "event", ""))
        if event not in ("job_error", "group_error"):
            return
        members = getattr(record, "job_error_info", None) or []
        logs = [log for about in members for log in about["log"]]
        logs += getattr(record, "log", None) or []
        logs += getattr(record, "aux_logs", None) or []
        found = {log: self._target(log) for log in logs}
        targets = {target for target in found.values() if target is not None}
        noted_there = [target for target in sorted(targets) if self._is_new(target)]
        reason = self._reason(record, [log for log, target in found.items() if target is None])
        if reason and not noted_there:
            for target in targets:
                note(self.root, target, reason)
                self._is_new(target)

    def _reason(self, record: logging.LogRecord, logs: list[str]) -> str:
        """Who says that it was memory, or nothing. ``logs``: those of the scheduler."""
        now = kills(self.groups)
        if now > self.killed:
            self.killed = now
            return "killed by the kernel for memory"
        said = str(getattr(record, "rule_msg", "") or "")
        if "OUT_OF_MEMORY" in said:
            return said
        for log in logs:
            with suppress(OSError):
                if match := OOM.search(Path(log).read_text(errors="replace")):
                    return match[0]
        return ""

    def _is_new(self, target: str) -> bool:
        """Whether more has been noted of a job than when this was last asked."""
        path = _note(self.root, target)
        before, self.noted[path] = self.noted.get(path, 0), _times(path)
        return self.noted[path] > before

    def _target(self, log: str) -> str | None:
        """A job's log lies where its target does, under another folder."""
        with suppress(ValueError):
            return str(Path(log).relative_to(self.root / "logs").with_suffix(""))
        return None


def kills(groups: Path = GROUPS, about: Path = Path("/proc/self/cgroup")) -> int:
    """How many processes the kernel has killed for memory in this process's control group."""
    found = 0
    with suppress(OSError):
        for line in about.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "":
                file = groups / path.strip("/") / "memory.events"
            elif "memory" in controllers.split(","):
                file = groups / "memory" / path.strip("/") / "memory.oom_control"
            else:
                continue
            with suppress(OSError):
                match = re.search(r"^oom_kill (\d+)", file.read_text(), re.MULTILINE)
                found += int(match[1]) if match else 0
    return found
