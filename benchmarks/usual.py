"""kdpipe against the usual way to distil, on MNIST and all cores of this machine.

    python benchmarks/usual.py --data DATA       # the folder with MNIST/raw/*.gz

The usual way: torchvision's data set with transforms for every sample, a DataLoader, single
precision, the teacher in every step, CRD's negatives gathered, and ``.item()`` for the metrics; one
training at a time, with the best of {0, 1, 2} workers × {1, 2} threads. kdpipe: one training a
core, in single precision and in bf16, teacher outputs from a table where the study has one. Both
train the same networks with the same objectives. Each contestant is a process of its own, in turns.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import torch
from _bench import Row, mnist, write

from kdpipe.data.augment.base import Pipeline
from kdpipe.data.images import as_float
from kdpipe.distill import crd
from kdpipe.distill.base import Objective, Setting, Step, objectives
from kdpipe.models.base import Network, build
from kdpipe.plugin import PluginRef
from kdpipe.training import table
from kdpipe.training.checkpoint import Checkpoint
from kdpipe.training.compute import Compute
from kdpipe.training.loop import Images, fit
from kdpipe.training.recipe import Recipe
from kdpipe.training.teacher import LiveTeacher, TabulatedTeacher
from kdpipe.workflow import ALLOCATOR

BATCH = 64
MEAN, STD = [0.1307] * 3, [0.3081] * 3
METHODS = ("labels", "kl", "hint", "crd")
SHAPES = {"penultimate": (128,), "hint": (64, 24, 24)}


def network(seed: int) -> Network:
    return build(
        PluginRef(name="mnist_cnn", options={"antialias": False}),
        10,
        [0.1307] * 3,
        [0.3081] * 3,
        seed,
    )


def objective(method: str, labels: torch.Tensor) -> Objective:
    cls = objectives.get(method)
    return cls(cls.Options(), Setting(labels, 10, SHAPES, SHAPES))


def usual(method: str, data: Path, steps: int, workers: int) -> float:
    """Seconds per image."""
    from torchvision import datasets, transforms

    each = [
        transforms.Grayscale(3),
        transforms.ToTensor(),
        transforms.Normalize([0.1307] * 3, [0.3081] * 3),
    ]
    images = datasets.MNIST(str(data), train=True, transform=transforms.Compose(each))
    loader = torch.utils.data.DataLoader(
        WithRows(images), batch_size=BATCH, shuffle=True, num_workers=workers
    )
    student, teacher = plain(network(0)), plain(network(1)).eval()
    loss_of = objective(method, images.targets)
    layers = type(loss_of).student_layers(loss_of.options)
    optimiser = torch.optim.Adadelta([*student.parameters(), *loss_of.parameters()], lr=1.0)
    student.train()
    running = correct = 0.0
    for number, (x, y, rows) in enumerate(loader):
        if number == 2:
            start = time.perf_counter()
        step = Step(rows=rows, labels=y, logits=torch.empty(0))
        if loss_of.uses_teacher:
            with torch.no_grad():
                step.teacher_logits, step.teacher_features = teacher.with_features(x, layers)
        step.logits, step.features = student.with_features(x, layers)
        loss = loss_of(step)["loss"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        running += loss.item()
        correct += (step.logits.argmax(1) == y).float().mean().item()
        if number == steps + 1:
            break
    return (time.perf_counter() - start) / (steps * BATCH)


class WithRows(torch.utils.data.Dataset):
    """CRD needs to know which image it sees."""

    def __init__(self, images) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int):
        return *self.images[row], row


def plain(module: Network) -> Network:
    """The network as it comes: rows of pixels first, normalised by the data set."""
    module.mean.zero_()
    module.std.fill_(1)
    return module.to(memory_format=torch.contiguous_format)


def gathered(anchors, bank, rows, negatives):
    candidates = bank[torch.cat([rows[:, None], negatives], 1)]
    return torch.bmm(candidates, anchors[:, :, None])[:, :, 0]


def ours(method: str, data: Path, steps: int, precision: str, folder: Path) -> float:
    """Seconds per image."""
    pixels, labels = mnist(data, "train")
    compute = Compute(precision=precision)
    compute.start()
    n = steps * BATCH
    grey = np.repeat(pixels[:n, :, :, None], 3, axis=3)
    images = Images(
        torch.from_numpy(grey).permute(0, 3, 1, 2), torch.from_numpy(labels[:n]), np.arange(n)
    )
    # The bank of CRD is that of all images, as in the usual way.
    loss_of = objective(method, torch.from_numpy(labels))
    layers = type(loss_of).teacher_layers(loss_of.options)
    live = LiveTeacher(network(1), layers, BATCH)
    teacher = live if method != "labels" else None
    if method in ("kl", "crd"):
        teacher = tabulated(live, images, layers, compute, folder / f"{os.getpid()}.safetensors")
    val = Images(images.pixels[:2], images.labels[:2], images.ids[:2])
    student, recipe = network(0), Recipe(epochs=1, batch_size=BATCH)
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        with redirect_stdout(None):
            fit(
                student,
                loss_of,
                teacher,
                images,
                val,
                recipe,
                Pipeline([], 0),
                compute,
                0,
                Checkpoint(None),
            )
        seconds.append(time.perf_counter() - start)
    return seconds[1] / n


def tabulated(live, images, layers, compute, path: Path) -> TabulatedTeacher:
    def outputs(rows: torch.Tensor) -> dict[str, torch.Tensor]:
        with compute.autocast():
            logits, features = live(as_float(images.pixels[rows]), rows)
        return {"logits": logits, **features}

    n = len(images.labels)
    shapes = {k: ((1, n, *x.shape[1:]), x.dtype) for k, x in outputs(torch.arange(2)).items()}
    tensors = table.create(path, shapes)
    for rows in torch.arange(n).split(BATCH):
        for name, x in outputs(rows).items():
            tensors[name][0, rows] = x
    return TabulatedTeacher(path, layers, torch.device("cpu"))


def contestant(words: argparse.Namespace) -> None:
    """Run all methods and print their seconds per image as JSON."""
    torch.manual_seed(0)
    found = {}
    for method in METHODS:
        if words.run == "usual":
            torch.set_num_threads(words.threads)
            crd.similarities = gathered
            found[method] = usual(method, words.folder, words.steps, words.workers)
        else:
            found[method] = ours(method, words.data, words.steps, words.run, words.folder)
    print(json.dumps(found))


def start(words: argparse.Namespace, folder: Path, *more: str, **environ: str) -> subprocess.Popen:
    command = [sys.executable, __file__, "--data", str(words.data), "--folder", str(folder)]
    command += ["--steps", str(words.steps), *more]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, **environ}
    )


def seconds(processes: list[subprocess.Popen]) -> dict[str, float]:
    """Seconds of the machine per image, of trainings that run at the same time."""
    found = [json.loads(p.communicate()[0].splitlines()[-1]) for p in processes]
    return {m: 1 / sum(1 / f[m] for f in found) for m in METHODS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--run", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--workers", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, help=argparse.SUPPRESS)
    words = parser.parse_args()
    if words.run:
        contestant(words)
        return
    cores = os.cpu_count() or 1
    times: dict[str, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        unpack(words.data, folder)
        for _ in range(words.rounds):
            turn = {}
            for workers in (0, 1, 2):
                for threads in (1, 2):
                    more = ["--run", "usual", "--workers", str(workers), "--threads", str(threads)]
                    key = f"usual, {workers} workers, {threads} threads"
                    turn[key] = seconds([start(words, folder, *more)])
            for precision in ("fp32", "bf16"):
                # With the allocator's settings that a study's jobs get.
                jobs = [start(words, folder, "--run", precision, **ALLOCATOR) for _ in range(cores)]
                turn[f"kdpipe, {precision}"] = seconds(jobs)
            for key, found in turn.items():
                for method, value in found.items():
                    times.setdefault(key, {}).setdefault(method, []).append(value)
    write("usual", table_of(times))


def table_of(times: dict[str, dict[str, list[float]]]) -> list[Row]:
    """Milliseconds of the machine per batch, and how many times faster than the best usual way."""
    rows = []
    middle = {k: {m: statistics.median(v) for m, v in f.items()} for k, f in times.items()}
    for key, found in times.items():
        row: Row = {"way": key}
        for method in METHODS:
            row[f"{method}_ms"] = 1e3 * BATCH * middle[key][method]
            best = min(middle[k][method] for k in middle if k.startswith("usual"))
            row[f"{method}_times"] = best / middle[key][method]
        for name, methods in (("all", METHODS), ("without_crd", METHODS[:3])):
            best = min(sum(middle[k][m] for m in methods) for k in middle if k.startswith("usual"))
            row[f"{name}_times"] = best / sum(middle[key][m] for m in methods)
        row["spread"] = max(max(v) / min(v) for v in found.values())
        rows.append(row)
    return rows


def unpack(data: Path, folder: Path) -> None:
    """torchvision reads the IDX files unpacked."""
    (folder / "MNIST/raw").mkdir(parents=True)
    for path in (data / "MNIST/raw").glob("*.gz"):
        (folder / "MNIST/raw" / path.stem).write_bytes(gzip.decompress(path.read_bytes()))


if __name__ == "__main__":
    main()
