"""The small study, submitted to Slurm through ``profiles/slurm``."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from helpers.interrupted import NAMES, Interrupted, Job, state_of, wait_for
from helpers.workspace import STUDY

# Only what a node of two cores, and a test that should end soon, need otherwise.
PROFILE = ("--profile", "profiles/slurm", "--cores", "2", "--latency-wait", "10")
PROFILE += ("--slurm-init-seconds-before-status-checks", "2")
SUBMITTED = re.compile(r"has been submitted with SLURM jobid (\d+)")


@dataclass
class Submitted(Interrupted):
    """A workspace whose jobs Slurm runs."""

    def submit(self, target: str, *options: str) -> subprocess.Popen[bytes]:
        """Start Snakemake on ``target``, to be left alone until it ends."""
        wanted = NAMES.get(target, f"results/tiny/{target}")
        words = [sys.executable, "-m", "snakemake", wanted, *PROFILE, *options]
        return self.begin([*words, "--configfile", STUDY])

    def submissions(self) -> list[str]:
        """Slurm's numbers of the jobs that Snakemake has submitted."""
        return SUBMITTED.findall(self.screen.read_text())

    def after(self, epochs: int, target: str, run: subprocess.Popen[bytes]) -> Job:
        """The training of ``target`` when it has done so many epochs."""
        pattern = re.compile(rf"epoch +{epochs}/")
        wait_for(lambda: pattern.search(self.log(target)) or run.poll() is not None, "epochs", 240)
        job = self.job(target, run)
        assert job is not None, self.screen.read_text()
        job.look()
        assert job.worker is not None
        return job

    def processes(self) -> dict[int, str]:
        """What runs in the workspace, on the node or for it: number and command line."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                pid = int(folder.name)
                words = (folder / "cmdline").read_text().replace("\0", " ")
                inside = (folder / "cwd").readlink() == self.workspace.path
                if inside and state_of(pid) not in ("", "Z"):
                    found[pid] = words
        return found

    def left_running(self) -> list[str]:
        """What still runs some seconds after the last run has ended; nothing if one has not."""
        if any(run.poll() is None for run in self.started):
            return []
        with suppress(AssertionError):
            wait_for(lambda: not self.processes(), "the end of the last job", 15)
        return list(self.processes().values())

    def end_all(self) -> None:
        super().end_all()
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def assert_finishes(self, run: subprocess.Popen[bytes]) -> None:
        assert run.wait(600) == 0, self.screen.read_text()


def waits_for(number: signal.Signals, pid: int) -> bool:
    """Whether a stopped process has this signal to deal with once it goes on.

    Not when it is gone.
    """
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    masks = re.findall(r"^(?:SigPnd|ShdPnd):\s+(\w+)", status, re.MULTILINE)
    return any(int(mask, 16) >> (number - 1) & 1 for mask in masks)
