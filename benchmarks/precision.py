"""Compare trainings in bf16 and single precision with the variation between seeds, on MNIST.

    python benchmarks/precision.py --data DATA   # the folder with MNIST/raw/*.gz

Trains networks of several seeds in both precisions for each objective, on some thousand images, and
evaluates accuracy and loss on test images in single precision. The difference between precisions
is paired by seed and compared with the spread of the seeds.
"""

from __future__ import annotations

import argparse
import statistics
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import torch
from _bench import Row, as_a_job, mnist, write
from _usual import PAIRS, network, objective
from scipy.stats import ttest_rel

from kdpipe.data.augment.base import Pipeline
from kdpipe.models.base import Network
from kdpipe.training.checkpoint import Checkpoint
from kdpipe.training.compute import Compute
from kdpipe.training.loop import Images, evaluate, fit
from kdpipe.training.recipe import Recipe
from kdpipe.training.teacher import LiveTeacher

PAIR = PAIRS["mnist_cnn"]


def images(data: Path, part: str, n: int) -> Images:
    pixels, labels = mnist(data, part)
    grey = np.repeat(pixels[:n, :, :, None], 3, axis=3)
    return Images(
        torch.from_numpy(grey).permute(0, 3, 1, 2), torch.from_numpy(labels[:n]), np.arange(n)
    )


def trained(
    method: str, precision: str, seed: int, teacher: Network | None, train: Images, epochs: int
) -> Network:
    compute = Compute(precision=precision)
    compute.start()
    torch.manual_seed(seed)
    student = network(PAIR, PAIR.student, seed)
    loss_of = objective(PAIR, method, train.labels, student, teacher or student)
    live = None
    if teacher is not None:
        live = LiveTeacher(teacher, loss_of.reads[1], PAIR.batch_size)
    val = Images(train.pixels[:2], train.labels[:2], train.ids[:2])
    recipe = Recipe(epochs=epochs, batch_size=PAIR.batch_size)
    with redirect_stdout(None):
        pipeline = Pipeline([], 0)
        fit(student, loss_of, live, train, val, recipe, pipeline, compute, seed, Checkpoint(None))
    return student


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--test-images", type=int, default=4000)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--methods", nargs="+", default=PAIR.methods)
    words = parser.parse_args()
    as_a_job()
    train = images(words.data, "train", words.images)
    test = images(words.data, "t10k", words.test_images)
    teacher = trained("labels", "fp32", 1000, None, train, words.epochs)
    rows: list[Row] = []
    for method in words.methods:
        found: dict[str, dict[str, list[float]]] = {"fp32": {}, "bf16": {}}
        for seed in range(words.seeds):
            for precision, values in found.items():
                own = teacher if method != "labels" else None
                student = trained(method, precision, seed, own, train, words.epochs)
                for name, value in evaluate(student, test, 500, Compute()).items():
                    values.setdefault(name.removeprefix("val_"), []).append(value)
        for name in ("accuracy", "loss"):
            full, half = found["fp32"][name], found["bf16"][name]
            row = {
                "objective": method,
                "metric": name,
                "fp32": statistics.mean(full),
                "bf16": statistics.mean(half),
                "difference": statistics.mean(half) - statistics.mean(full),
                "std_over_seeds": statistics.stdev(full),
                "p_paired": float(ttest_rel(half, full).pvalue),
            }
            print(row, flush=True)
            rows.append(row)
    write("precision", rows)


if __name__ == "__main__":
    main()
