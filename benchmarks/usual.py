"""Compare kdpipe with a usual PyTorch distillation, on all cores of this machine.

    python benchmarks/usual.py --data DATA            # MNIST; the folder with MNIST/raw/*.gz
    python benchmarks/usual.py --pairs vgg13-vgg8 wrn_40_2-shufflenet_v1

The usual way: torchvision's data set with transforms for every sample, a DataLoader, single
precision, the teacher in every step, CRD's negatives gathered, and ``.item()`` for the metrics; one
training at a time, with the best of {0, 1, 2} workers × {1, 2} threads. kdpipe: one training a
core, in single precision and in bf16, with the teacher in every step or its outputs from a table,
the making of which is shared by the epochs of all students that read it. Both train the same
networks with the same objectives. Each contestant runs in its own process, in turns.

The CIFAR pairs train on random pixels in torchvision's CIFAR10, as time does not depend on them.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from _bench import Row, write
from _usual import PAIRS, Contestant, kdpipe_way, unpack, usual_way

from kdpipe.workflow.snakefile import ALLOCATOR

WAYS = {
    "kdpipe, fp32, teacher in the step": ("fp32", False),
    "kdpipe, bf16, teacher in the step": ("bf16", False),
    "kdpipe, fp32, table": ("fp32", True),
    "kdpipe, bf16, table": ("bf16", True),
}
Found = dict[str, float]  # objective: seconds per image


def start(contestant: Contestant, **environ: str) -> subprocess.Popen:
    command = [sys.executable, __file__, "--contestant", json.dumps(contestant.__dict__)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, **environ}
    )


def seconds(processes: list[subprocess.Popen]) -> Found:
    """Seconds of the machine per image, of trainings that run at the same time."""
    found = [json.loads(p.communicate()[0].splitlines()[-1]) for p in processes]
    return {m: 1 / sum(1 / f[m] for f in found) for m in found[0]}


def one_turn(pair: str, words: argparse.Namespace, folder: Path) -> dict[str, Found]:
    turn = {}
    common = {"pair": pair, "folder": str(folder), "steps": words.steps}
    for workers in (0, 1, 2):
        for threads in (1, 2):
            usual = Contestant(**common, workers=workers, threads=threads)
            turn[f"usual, {workers} workers, {threads} threads"] = seconds([start(usual)])
    for way, (precision, tabulated) in WAYS.items():
        ours = Contestant(**common, precision=precision, tabulated=tabulated)
        # With the allocator's settings that a study's jobs get.
        jobs = [start(ours, **ALLOCATOR) for _ in range(os.cpu_count() or 1)]
        turn[way] = seconds(jobs)
    return turn


def table_of(pair: str, turns: list[dict[str, Found]]) -> list[Row]:
    """Milliseconds of the machine per batch, and how many times faster than the best usual way."""
    size = PAIRS[pair].batch_size
    middle = {
        k: {m: statistics.median(t[k][m] for t in turns) for m in turns[0][k]} for k in turns[0]
    }
    best_of = [found for way, found in middle.items() if way.startswith("usual")]
    rows = []
    for way, found in middle.items():
        row: Row = {"pair": pair, "way": way}
        for method, value in found.items():
            row[f"{method}_ms"] = 1e3 * size * value
            row[f"{method}_times"] = min(usual[method] for usual in best_of) / value
        row["all_times"] = times(best_of, found)
        row["without_crd_times"] = times(best_of, {k: v for k, v in found.items() if k != "crd"})
        every = [[t[way][m] for t in turns] for m in found]
        row["spread"] = max(max(v) / min(v) for v in every)
        rows.append(row)
    return rows


def times(usual: list[Found], ours: Mapping[str, float]) -> float:
    """All objectives one after the other: the usual way's best setting over ``ours``."""
    return min(sum(found[m] for m in ours) for found in usual) / sum(ours.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="needed for mnist_cnn")
    parser.add_argument("--pairs", nargs="+", default=["mnist_cnn"], choices=list(PAIRS))
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--contestant", help=argparse.SUPPRESS)
    words = parser.parse_args()
    if words.contestant:
        contestant = Contestant(**json.loads(words.contestant))
        way = kdpipe_way if contestant.precision else usual_way
        print(json.dumps({m: way(contestant, m) for m in PAIRS[contestant.pair].methods}))
        return
    if "mnist_cnn" in words.pairs and words.data is None:
        parser.error("--data: name the folder with MNIST/raw/*.gz")
    with tempfile.TemporaryDirectory() as name:
        if "mnist_cnn" in words.pairs:
            unpack(words.data, Path(name))
        for pair in words.pairs:
            turns = [one_turn(pair, words, Path(name)) for _ in range(words.rounds)]
            write(f"usual_{pair}", table_of(pair, turns))


if __name__ == "__main__":
    main()
