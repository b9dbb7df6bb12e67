"""One run of a part of ``gpu.py``, with the networks and images that parts share."""

from __future__ import annotations

import csv
import gc
import statistics
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import loop
import numpy as np
import torch

from kdpipe.base.plugin import resolve
from kdpipe.distill import objectives
from kdpipe.distill.base import Objective, Setting
from kdpipe.models import builders
from kdpipe.models.base import Network, build
from kdpipe.training.loop import Images

BATCH = 64
PAIRS = {
    "mnist_cnn": loop.PAIRS["mnist_cnn"],
    "vgg13-vgg8": loop.PAIRS["vgg13-vgg8"],
    "resnet50-resnet18": replace(loop.PAIRS["resnet50-resnet18"], size=224),
}
RECIPES = {
    "mnist_cnn": {"optimizer": "adadelta", "lr": 1.0},
    "vgg13-vgg8": {"optimizer": "sgd", "lr": 0.05, "weight_decay": 5e-4},
    "resnet50-resnet18": {"optimizer": "sgd", "lr": 0.1, "weight_decay": 1e-4},
}


class Part:
    """One run of one part: where its rows go, and how large everything is."""

    def __init__(self, name: str, out: Path, device: str, smoke: bool) -> None:
        self.name, self.out, self.device, self.smoke = name, out, device, smoke
        self.path = out / f"{name}.csv"
        with self.path.open("w", newline="") as stream:
            csv.writer(stream, lineterminator="\n").writerow(
                ("subject", "variant", "metric", "value")
            )

    def row(self, subject: str, variant: str, metric: str, value: float | str) -> None:
        shown = f"{value:.5g}" if isinstance(value, float) else value
        print(subject, variant, metric, shown, flush=True)
        with self.path.open("a", newline="") as stream:
            csv.writer(stream, lineterminator="\n").writerow((subject, variant, metric, shown))

    def size(self, full: int, small: int) -> int:
        return small if self.smoke else full

    @contextmanager
    def kept(self, subject: str, variant: str) -> Iterator[None]:
        """Go on after a variant that fails, and leave no memory of it on the device."""
        try:
            yield
        except Exception as error:
            traceback.print_exc()
            self.row(subject, variant, "error", " ".join(str(error).split())[:200])
        gc.collect()
        if self.device == "cuda":
            torch.cuda.empty_cache()

    def wait(self) -> None:
        loop.wait(self.device)

    def pairs(self) -> dict[str, loop.PairOfNetworks]:
        if not self.smoke:
            return PAIRS
        return {"mnist_cnn": PAIRS["mnist_cnn"]}

    def seconds(self, step: Callable[[], object], steps: int, turns: int = 3) -> float:
        """Of one step, median of the turns."""
        for _ in range(self.size(10, 1)):
            step()
        found = []
        for _ in range(turns if not self.smoke else 1):
            self.wait()
            start = time.perf_counter()
            for _ in range(steps):
                step()
            self.wait()
            found.append((time.perf_counter() - start) / steps)
        return statistics.median(found)


def networks(pair: loop.PairOfNetworks, device: str) -> tuple[Network, Network]:
    """Teacher and student."""
    made = [
        build(resolve(builders, dict(ref)), pair.n_classes, loop.MEAN, loop.STD, seed).to(device)
        for seed, ref in enumerate((pair.teacher, pair.student))
    ]
    return made[0], made[1]


def some_images(n: int, pair: loop.PairOfNetworks, device: str) -> Images:
    """Noise, made where it is used."""
    shape = (n, pair.size, pair.size, 3)
    pixels = torch.randint(256, shape, dtype=torch.uint8, device=device).permute(0, 3, 1, 2)
    labels = torch.arange(n, device=device) % pair.n_classes
    return Images(pixels, labels, np.arange(n))


def objective_of(
    name: str, pair: loop.PairOfNetworks, images: Images, student: Network, teacher: Network
) -> Objective:
    cls = objectives.get(name)
    options = cls.Options(**({"negatives": 1024} if name == "crd" else {}))
    setting = Setting(
        images.labels.cpu(),
        pair.n_classes,
        loop.shapes(student, images, cls.student_layers(options)),
        loop.shapes(teacher, images, cls.teacher_layers(options)),
        groups=student.groups,
        teacher_groups=teacher.groups,
    )
    return cls(options, setting).to(images.labels.device)
