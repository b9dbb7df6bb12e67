"""Start Snakemake, find the job of a stage in the process table, and kill one or both."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from helpers.workspace import STUDY, Workspace, digests

SEED = "KDPIPE_FAULTS_SEED"
# A checkpoint at every few steps, or no training here would live to see one.
OFTEN = {"KDPIPE_CHECKPOINT_SECONDS": "0.1"}
# A run of one job would wait for the warm server longer than the job takes.
ALONE = {"KDPIPE_WARM": "off"}

TARGETS = {
    "train": "models/big/seed0",
    "distil": "students/answers/crd/seed0",
    "probe": "probes/students/answers/crd/seed0/unary/predictions",
    "tables": "tables",
}
# How Snakemake is asked for them.
NAMES = {
    "tables": "tables",
    **{t: f"results/tiny/{t}/model.json" for t in (TARGETS["train"], TARGETS["distil"])},
}


def small_study(study: dict[str, Any]) -> None:
    """The tiny study with one pair, CRD, and trainings that last some seconds."""
    del study["pairs"]["features"]
    pair = study["pairs"]["answers"]
    pair["seeds"] = [0]
    pair["methods"] = {"crd": {"negatives": 128, "dimension": 32}}
    pair["training"] = {"epochs": 12}
    study["models"]["big"]["training"] = {"epochs": 8}
    study["models"]["small"]["seeds"] = [0]
    study["probes"] = {name: study["probes"][name] for name in pair["probes"]}


@dataclass
class Job:
    """A process that runs one stage, perhaps through a fork of the warm server.

    ``pid`` is the one that the shell started. ``worker`` is the one that computes, known as soon
    as it holds the lock of the target and has been looked for.
    """

    pid: int
    stage: str
    target: str
    lock: Path
    worker: int | None = None

    def look(self) -> None:
        if self.worker is None:
            self.worker = holder_of(self.lock)

    def alive(self) -> bool:
        self.look()
        return any(state_of(pid) not in ("", "Z") for pid in (self.pid, self.worker) if pid)

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Kill the process that computes."""
        self.look()
        os.kill(self.worker or self.pid, number)


def holder_of(lock: Path) -> int | None:
    """The process that the kernel says holds a lock on the file."""
    try:
        inode = str(lock.stat().st_ino)
    except OSError:
        return None
    for line in Path("/proc/locks").read_text().splitlines():
        words = line.split()
        if words[1] == "FLOCK" and words[5].rpartition(":")[2] == inode:
            return int(words[4])
    return None


def state_of(pid: int) -> str:
    """The letter of the process table, or nothing."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def wait_for(condition: Callable[[], object], what: str, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.01)


@dataclass
class Interrupted:
    """A workspace whose runs are started without waiting for their end."""

    workspace: Workspace
    environment: dict[str, str] = field(default_factory=lambda: {**OFTEN, **ALONE})
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def results(self) -> Path:
        return self.workspace.results

    @property
    def screen(self) -> Path:
        return self.workspace.path / "screen.txt"

    def start(self, target: str, *options: str, before: str = "") -> subprocess.Popen[bytes]:
        """Start Snakemake on ``target``, in a process group of its own as from a terminal."""
        wanted = NAMES.get(target, f"results/tiny/{target}")
        words = [sys.executable, "-m", "snakemake", wanted, *options]
        words += ["--cores", "2", "--configfile", STUDY]
        return self.begin(["bash", "-c", f'{before}exec "$@"', "bash", *words])

    def begin(self, words: Sequence[str]) -> subprocess.Popen[bytes]:
        """Start a command in the workspace; what it prints goes to ``screen``."""
        with self.screen.open("w") as screen:
            run = subprocess.Popen(
                words,
                cwd=self.workspace.path,
                env=self.workspace.environment(**self.environment),
                stdout=screen,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.started.append(run)
        return run

    def finish(self, target: str) -> None:
        """What a person does after an interruption: at most one command, then the run again."""
        if self.locked():
            done = self.workspace.run("--unlock")
            assert done.returncode == 0, done.stdout
        run = self.start(target)
        assert run.wait(300) == 0, self.screen.read_text()

    def locked(self) -> bool:
        return any((self.workspace.path / ".snakemake" / "locks").glob("*"))

    def unlock(self) -> None:
        """As ``snakemake --unlock``, without the time it takes to start."""
        shutil.rmtree(self.workspace.path / ".snakemake" / "locks", ignore_errors=True)

    def jobs(self) -> list[Job]:
        """The stages that run now, whoever started them."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                words = (folder / "cmdline").read_text().split("\0")
                here = (folder / "cwd").readlink() == self.workspace.path
            except OSError:
                continue
            if here and words[1:3] == ["-m", "kdpipe"] and "--out" in words:
                out = words[words.index("--out") + 1]
                target = str(Path(out).relative_to("results/tiny"))
                lock = self.results / ".locks" / f"{target.replace('/', '.')}.lock"
                job = Job(int(folder.name), words[3], target, lock)
                if job.alive():
                    found.append(job)
        return found

    def job(self, target: str, run: subprocess.Popen[bytes]) -> Job | None:
        """The job of ``target`` as soon as it runs, or None if ``run`` ends without one."""
        while run.poll() is None:
            for job in self.jobs():
                if job.target == target:
                    return job
            time.sleep(0.01)
        return None

    def forget(self, target: str) -> None:
        """Back to before ``target`` was made."""
        shutil.rmtree(self.results / target)
        (self.results / "logs" / f"{target}.log").unlink(missing_ok=True)
        for folder in (".checkpoints", ".failures"):
            shutil.rmtree(self.results / folder, ignore_errors=True)

    def checkpoints(self) -> list[Path]:
        """What a training can go on from."""
        return sorted((self.results / ".checkpoints").glob("[!.]*.pt*"))

    def duration(self, target: str) -> float:
        """Seconds that the job of ``target`` took without an interruption."""
        line = (self.results / "benchmarks" / f"{target}.tsv").read_text().splitlines()[1]
        return float(line.split()[0])

    def log(self, target: str) -> str:
        path = self.results / "logs" / f"{target}.log"
        return path.read_text(errors="replace").replace("\0", "") if path.exists() else ""

    def files(self, *ignored: str) -> dict[str, str]:
        return {k: v for k, v in digests(self.results).items() if k.split("/")[0] not in ignored}

    def assert_same_as(self, finished: Interrupted) -> None:
        """Every result has the bytes of the uninterrupted run, and nothing lies beside them."""
        mine, theirs = self.files(), finished.files()
        assert sorted(mine.keys() ^ theirs.keys()) == []
        assert [name for name in mine if mine[name] != theirs[name]] == []
        hidden = [f for f in self.results.rglob(".*") if f.is_file()]
        left = [str(f) for f in hidden if f.name != ".snakemake_timestamp"]
        assert not left, f"left beside the results: {left}"

    def end_all(self) -> None:
        """Leave no process behind, whatever a test did."""
        for run in self.started:
            if run.poll() is None:
                run.kill()
                run.wait()
        for job in self.jobs():
            job.kill()
