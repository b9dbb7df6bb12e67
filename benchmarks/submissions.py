"""The effect of grouping on Slurm: submissions and wall clock, each job alone and in groups.

    python benchmarks/submissions.py --study config.yaml          (as root on Debian)

Starts the Slurm of ``make test-slurm``, with as many processors as the machine has, and runs the
study through ``profiles/slurm``, once as it is and once without its groups. Both runs must give the
same results, byte for byte. To run a part of it:

    --models teacher student --pairs main --methods kl
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml
from _bench import Row, write

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from helpers.cluster import Cluster, install
from helpers.workspace import STUDY, Workspace, digests, fresh, job_stats

PROFILE = Path("profiles/slurm/config.yaml")
PARTS = ("models", "pairs", "methods")
SUBMITTED = re.compile(r"has been submitted with SLURM jobid (\d+)")


def alone(workspace: Workspace) -> None:
    """Take the groups out of the profile, and those of trainings out of the study."""
    path = workspace.path / PROFILE
    profile = yaml.safe_load(path.read_text())
    del profile["groups"], profile["group-components"]
    path.write_text(yaml.safe_dump(profile))
    workspace.change_study(lambda study: study.update(resources={"small_minutes": 0}))


def measure(workspace: Workspace, target: str, cores: int) -> Row:
    """Run ``target`` of the workspace's study; its jobs, submissions, and wall clock in seconds."""
    words = [sys.executable, "-m", "snakemake", target, "--profile", str(PROFILE.parent)]
    screen = workspace.path / "screen.txt"
    start = time.monotonic()
    with screen.open("w") as stream:
        done = subprocess.run(
            [*words, "--cores", str(cores), "--configfile", STUDY],
            cwd=workspace.path,
            env=workspace.environment(),
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
    seconds = time.monotonic() - start
    said = screen.read_text()
    if done.returncode:
        raise SystemExit(f"The study did not finish:\n{said[-3000:]}")
    jobs = sum(job_stats(said).values())
    return {"jobs": jobs, "submissions": len(SUBMITTED.findall(said)), "seconds": seconds}


def cut(study: dict[str, Any], wanted: dict[str, list[str]]) -> None:
    """Leave only these models, pairs and methods in the study, where any are named."""
    for kind, names in wanted.items():
        for where in study["pairs"].values() if kind == "methods" else [study]:
            where[kind] = {k: v for k, v in where[kind].items() if k in (names or where[kind])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--study", type=Path, default=Path("config.yaml"))
    for part in PARTS:
        parser.add_argument(f"--{part}", nargs="*", default=[], help=f"only these {part}")
    parser.add_argument("--target", default="all")
    parser.add_argument("--kinds", nargs="*", default=["grouped", "alone"])
    words = parser.parse_args()
    cores = os.cpu_count() or 1
    text = words.study.read_text()
    about = {"study": words.study, "target": words.target}
    wanted = {part: getattr(words, part) for part in PARTS}
    about |= {part: " ".join(names) or "all" for part, names in wanted.items()}
    rows, results = [], []
    install()
    with tempfile.TemporaryDirectory(prefix="kdpipe-submissions-") as folder:
        cluster = Cluster(Path(folder) / "slurm", cpus=cores)
        try:
            cluster.start()
            for kind in words.kinds:
                workspace = fresh(Path(folder) / kind)
                (workspace.path / STUDY).write_text(text)
                workspace.change_study(lambda study: cut(study, wanted))
                if kind == "alone":
                    alone(workspace)
                rows.append({**about, "kind": kind, **measure(workspace, words.target, cores)})
                print(rows[-1], flush=True)
                (made,) = (workspace.path / "results").iterdir()
                results.append(digests(made))
        finally:
            cluster.stop()
    write("submissions", rows)
    first = results[0].items()
    if others := {name for made in results for name, _ in made.items() ^ first}:
        raise SystemExit(f"Not the same bytes: {', '.join(sorted(others))}")


if __name__ == "__main__":
    main()
