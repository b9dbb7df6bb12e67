"""The small study, submitted to Slurm through the profile that users have."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from faults import NAMES, Interrupted, Job, wait_for
from workspace import STUDY

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
        with self.screen.open("w") as screen:
            run = subprocess.Popen(
                [*words, "--configfile", STUDY],
                cwd=self.workspace.path,
                env=self.workspace.environment(**self.environment),
                stdout=screen,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.started.append(run)
        return run

    def submissions(self) -> list[str]:
        """Slurm's numbers of the jobs that Snakemake has submitted."""
        return SUBMITTED.findall(self.screen.read_text())

    def after(self, epochs: int, target: str, run: subprocess.Popen[bytes]) -> Job:
        """The training of ``target`` when it has done so many epochs."""
        pattern = re.compile(rf"epoch +{epochs}/")
        wait_for(lambda: pattern.search(self.log(target)) or run.poll() is not None, "epochs", 180)
        job = self.job(target, run)
        assert job is not None, self.screen.read_text()
        job.look()
        assert job.worker is not None
        return job

    def assert_finishes(self, run: subprocess.Popen[bytes]) -> None:
        assert run.wait(600) == 0, self.screen.read_text()


def waits_for(number: signal.Signals, pid: int) -> bool:
    """Whether a stopped process has this signal to deal with once it goes on."""
    status = Path(f"/proc/{pid}/status").read_text()
    masks = re.findall(r"^(?:SigPnd|ShdPnd):\s+(\w+)", status, re.MULTILINE)
    return any(int(mask, 16) >> (number - 1) & 1 for mask in masks)
