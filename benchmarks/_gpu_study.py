"""Run a whole study with several processes on one device, and report how each job ended.

    python benchmarks/_gpu_study.py config.yaml --out FOLDER --device cuda --processes 6

Unlike Snakemake it continues after a failed job: it runs every job that does not depend on it, and
``jobs.csv`` and ``failures.txt`` list the failures. ``verdicts.csv`` compares the verdicts with
those of ``--compare``, a ``transfer.csv`` of another machine.
"""

from __future__ import annotations

import argparse
import csv
import os
import time
import traceback
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from kdpipe.plan.plan import Plan
from kdpipe.study.schema import load

ROW = ("pair", "method", "probe", "condition", "metric")


def begin(folder: str) -> None:
    """Let this process share the device: its claims are in a folder of its own."""
    os.environ["KDPIPE_GPU_CLAIMS"] = f"{folder}/claims-{os.getpid()}"


def make(job: Any, root: Path, data_root: Path | None, log: Path) -> tuple[float, str]:
    """Run one job; its seconds, and its traceback where it failed."""
    from contextlib import redirect_stderr, redirect_stdout

    from kdpipe.run.inprocess import run_job

    start = time.perf_counter()
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as stream, redirect_stdout(stream), redirect_stderr(stream):
        try:
            run_job(job, root, data_root)
            error = ""
        except Exception:
            error = traceback.format_exc()
    return time.perf_counter() - start, error


def run(plan: Plan, out: Path, processes: int, data_root: Path | None) -> dict[str, str]:
    """Every job as soon as its inputs are there; the tracebacks of those that failed."""
    root = out / plan.study.study
    made_by = {file: job.target for job in plan.jobs.values() for file in job.outputs}
    needs = {
        job.target: {made_by[file] for file in job.inputs if file in made_by}
        for job in plan.jobs.values()
    }
    failed: dict[str, str] = {}
    done: set[str] = set()
    running: dict[Future[tuple[float, str]], str] = {}
    out.mkdir(parents=True, exist_ok=True)
    pool = ProcessPoolExecutor(
        processes, get_context("spawn"), initializer=begin, initargs=(str(out.resolve()),)
    )
    with pool, (out / "jobs.csv").open("w", newline="") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(("target", "seconds", "ended", "result"))
        start = time.perf_counter()
        while len(done) + len(failed) < len(needs):
            for target, inputs in needs.items():
                if target in done or target in failed or target in running.values():
                    continue
                if lost := inputs & set(failed):
                    failed[target] = f"needs {', '.join(sorted(lost)[:3])}\n"
                elif inputs <= done:
                    log = out / "logs" / f"{target.replace('/', '.')}.log"
                    job = pool.submit(make, plan.jobs[target], root, data_root, log)
                    running[job] = target
            if not running:
                continue
            for job in wait(running, return_when=FIRST_COMPLETED).done:
                target = running.pop(job)
                try:
                    seconds, error = job.result()
                except Exception as lost_process:
                    seconds, error = 0.0, repr(lost_process)
                if error:
                    failed[target] = error
                    with (out / "failures.txt").open("a") as text:
                        text.write(f"{target}\n{error}\n")
                else:
                    done.add(target)
                ended = time.perf_counter() - start
                result = "failed" if error else "made"
                table.writerow((target, f"{seconds:.2f}", f"{ended:.1f}", result))
                stream.flush()
    print(f"{len(done)} jobs made, {len(failed)} not, {time.perf_counter() - start:.1f} s.")
    return failed


def compare(here: Path, other: Path, out: Path) -> None:
    """Verdicts of both tables beside each other, and how many agree."""
    tables = []
    for path in (here, other):
        with path.open(newline="") as stream:
            tables.append({tuple(row[k] for k in ROW): row for row in csv.DictReader(stream)})
    ours, theirs = tables
    both = [key for key in ours if key in theirs]
    with out.open("w", newline="") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow((*ROW, "verdict", "verdict_other", "diff", "diff_other", "low", "high"))
        for key in both:
            a, b = ours[key], theirs[key]
            values = (a["verdict"], b["verdict"], a["diff"], b["diff"], b["diff_low"])
            table.writerow((*key, *values, b["diff_high"]))
    judged = [k for k in both if ours[k]["verdict"] or theirs[k]["verdict"]]
    same = sum(ours[k]["verdict"] == theirs[k]["verdict"] for k in judged)
    opposed = [
        k
        for k in judged
        if {ours[k]["verdict"], theirs[k]["verdict"]} == {"transferred", "opposite"}
    ]
    print(
        f"{len(both)} rows in both tables, {len(judged)} with a verdict: {same} agree, "
        f"{len(opposed)} say the opposite; {len(ours) - len(both)} rows are new here."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--processes", type=int, default=6)
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--compare", type=Path, help="a transfer.csv")
    words = parser.parse_args()
    study = load(words.study)
    wish = study.compute.model_copy(update={"device": words.device})
    plan = Plan(study.model_copy(update={"compute": wish}))
    failed = run(plan, words.out, words.processes, words.data_root)
    for target, error in failed.items():
        print(f"{target}: {error.strip().splitlines()[-1]}")
    transfer = words.out / plan.study.study / "tables/transfer.csv"
    if words.compare and transfer.is_file():
        compare(transfer, words.compare, words.out / "verdicts.csv")
    raise SystemExit(bool(failed))


if __name__ == "__main__":
    main()
