"""A folder with kdpipe and a tiny study, and queries to Snakemake about it."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from helpers.places import REPOSITORY, TINY

CODE = ("Snakefile", "config.yaml", "rules", "profiles", "envs", "kdpipe")
STUDY = "study.yaml"
NOTHING = "Nothing to be done"

# A rule's line in the table 'Job stats'.
_STATS_HEAD = re.compile(r"^job +count\n[- ]+\n", re.MULTILINE)
_STATS_ROW = re.compile(r"(\w+) +(\d+)")


@dataclass(frozen=True)
class Workspace:
    """A folder with kdpipe's code, a study file and perhaps its results."""

    path: Path

    @property
    def results(self) -> Path:
        return self.path / "results" / "tiny"

    def study(self) -> dict[str, Any]:
        return yaml.safe_load((self.path / STUDY).read_text())

    def change_study(self, change: Callable[[dict[str, Any]], Any]) -> None:
        study = self.study()
        change(study)
        (self.path / STUDY).write_text(yaml.safe_dump(study, sort_keys=False))

    def snakemake(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run Snakemake here as a user would; output and errors together in ``stdout``."""
        return subprocess.run(
            [sys.executable, "-m", "snakemake", *arguments],
            cwd=self.path,
            env=self.environment(**environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=600,
        )

    @staticmethod
    def environment(**more: str) -> dict[str, str]:
        """That of the tests, without what would lead to another copy of kdpipe or other data."""
        inherited = {k: v for k, v in os.environ.items() if k not in ("KDPIPE_DATA", "PYTHONPATH")}
        inherited["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        return {**inherited, **more}

    def run(
        self, *arguments: str, cores: int = 2, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run the workspace's study."""
        # Targets first: --configfile takes every word that follows it.
        return self.snakemake(
            *arguments, "--cores", str(cores), "--configfile", STUDY, **environment
        )

    def why(self, *words: str, **environment: str) -> str:
        """What ``kdpipe why`` says of the workspace's study."""
        return subprocess.run(
            [sys.executable, "-m", "kdpipe", "why", STUDY, *words],
            cwd=self.path,
            env=self.environment(**environment),
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    def dry_run_and_why(self, **environment: str) -> tuple[str, set[str]]:
        """What a dry run prints, after ``kdpipe why`` was found to name the very same jobs."""
        with ThreadPoolExecutor(2) as pool:
            listed = pool.submit(self.why, "--list", **environment)
            done = self.run("--dry-run", "--printshellcmds", **environment)
        assert done.returncode == 0, done.stdout
        planned = set(re.findall(r"-m kdpipe \w+ --root \S+ --out results/tiny/(\S+)", done.stdout))
        assert set(listed.result().split()) == planned
        return done.stdout, planned

    def would_run(self, *arguments: str, **environment: str) -> dict[str, int]:
        """How many jobs of which rule a run would start, without the rules that only collect."""
        done = self.run("--dry-run", *arguments, **environment)
        assert done.returncode == 0, done.stdout
        return job_stats(done.stdout)


def job_stats(output: str) -> dict[str, int]:
    """Rules and their numbers of jobs, from what a dry run prints."""
    head = _STATS_HEAD.search(output)
    if head is None:
        assert NOTHING in output, output
        return {}
    found = {}
    for line in output[head.end() :].splitlines():
        row = _STATS_ROW.fullmatch(line.strip())
        if row is None:
            break
        found[row[1]] = int(row[2])
    total = found.pop("total")
    assert sum(found.values()) == total, output
    for collecting in ("all", "subset", "models", "students", "probes"):
        found.pop(collecting, None)
    return found


def digests(results: Path) -> dict[str, str]:
    """Every result but what tells the time: logs, benchmarks and Snakemake's own marks."""
    return {
        str(path.relative_to(results)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(results.rglob("*"))
        if path.is_file()
        and path.relative_to(results).parts[0] not in ("logs", "benchmarks")
        and path.name != ".snakemake_timestamp"
    }


def fresh(path: Path) -> Workspace:
    """A workspace in which nothing has run."""
    path.mkdir(parents=True)
    for name in CODE:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, path / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, path / name)
    shutil.copy2(TINY, path / STUDY)
    return Workspace(path)
