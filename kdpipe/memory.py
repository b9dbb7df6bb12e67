"""Which jobs ran out of memory: only they get more of it when they are tried again.

A retry alone says nothing of why: a node may have been lost. The kernel counts the processes that
it killed for memory in each control group; Snakemake, which lives in the group of its jobs,
compares when a job fails.
"""

from __future__ import annotations

import logging
import re
from contextlib import suppress
from pathlib import Path

FOLDER = ".memory"
GROWTH = 2
GROUPS = Path("/sys/fs/cgroup")


def factor(root: str | Path, target: str) -> int:
    """By how much to multiply the memory of a job: 2 for every time it ran out of it."""
    with suppress(OSError):
        return GROWTH ** len(_note(root, target).read_text().splitlines())
    return 1


def note(root: str | Path, target: str, why: str) -> None:
    """Remember, outside of a job's outputs, that it ran out of memory."""
    path = _note(root, target)
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as stream:
            stream.write(f"{why}\n")


def _note(root: str | Path, target: str) -> Path:
    return Path(root) / FOLDER / f"{target.replace('/', '.')}.txt"


class Watch(logging.Handler):
    """Listens to Snakemake's events for jobs that failed because of their memory.

    On a node it asks the kernel; where jobs are submitted from, it reads the scheduler's reason.
    """

    def __init__(self, root: str | Path, groups: Path = GROUPS) -> None:
        super().__init__()
        self.root = Path(root)
        self.groups = groups
        self.killed = kills(groups)

    def emit(self, record: logging.LogRecord) -> None:
        if str(getattr(record, "event", "")) != "job_error":
            return
        now = kills(self.groups)
        reason = str(getattr(record, "rule_msg", "") or "")
        if now > self.killed or "OUT_OF_MEMORY" in reason:
            self.killed = now
            for log in getattr(record, "log", None) or []:
                if (target := self._target(log)) is not None:
                    note(self.root, target, reason or "killed by the kernel for memory")

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
