"""The two ways to distil that ``usual.py`` compares, each timed in its own process."""

from __future__ import annotations

import gzip
import os
import time
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kdpipe.base.plugin import resolve
from kdpipe.data.augment import augmentations
from kdpipe.data.augment.base import Pipeline
from kdpipe.data.images import as_float
from kdpipe.distill import crd, objectives
from kdpipe.distill.base import Objective, Setting, Step
from kdpipe.models import builders
from kdpipe.models.base import Network, build
from kdpipe.training import table
from kdpipe.training.checkpoint import Checkpoint
from kdpipe.training.compute import Compute
from kdpipe.training.loop import Images, fit
from kdpipe.training.recipe import Recipe
from kdpipe.training.teacher import LiveTeacher, TabulatedTeacher


@dataclass(frozen=True)
class PairOfNetworks:
    """``student_epochs``: epochs of all students that read a table, which pay for it together."""

    teacher: dict[str, Any]
    student: dict[str, Any]
    size: int
    n_images: int
    methods: tuple[str, ...]
    recipe: dict[str, Any]
    student_epochs: int
    augment: tuple[str, ...] = ()
    n_classes: int = 10
    batch_size: int = 64
    mean: list[float] = field(default_factory=lambda: [0.4914, 0.4822, 0.4465])
    std: list[float] = field(default_factory=lambda: [0.247, 0.2435, 0.2616])


CIFAR = {
    "size": 32,
    "n_images": 50_000,
    "methods": ("kl",),
    "recipe": {"optimizer": "sgd", "lr": 0.05, "momentum": 0.9, "weight_decay": 5e-4},
    "student_epochs": 5 * 240,  # five seeds
    "augment": ("pad_crop", "flip"),
}
PAIRS = {
    "mnist_cnn": PairOfNetworks(
        {"name": "mnist_cnn"},
        {"name": "mnist_cnn"},
        size=28,
        n_images=60_000,
        methods=("labels", "kl", "hint", "crd"),
        recipe={"optimizer": "adadelta", "lr": 1.0},
        student_epochs=2 * 3 * 14,  # KL and CRD, three seeds
        mean=[0.1307] * 3,
        std=[0.3081] * 3,
    ),
    "vgg13-vgg8": PairOfNetworks(
        {"name": "cifar_vgg", "arch": "vgg13"}, {"name": "cifar_vgg", "arch": "vgg8"}, **CIFAR
    ),
    "wrn_40_2-shufflenet_v1": PairOfNetworks(
        {"name": "wrn", "depth": 40, "width": 2}, {"name": "shufflenet_v1"}, **CIFAR
    ),
}


@dataclass(frozen=True)
class Contestant:
    """One process: the usual way where ``precision`` is empty, else kdpipe."""

    pair: str
    folder: str
    steps: int
    workers: int = 0
    threads: int = 1
    precision: str = ""
    tabulated: bool = False
    device: str = "cpu"


def network(pair: PairOfNetworks, ref: dict[str, Any], seed: int) -> Network:
    return build(resolve(builders, dict(ref)), pair.n_classes, pair.mean, pair.std, seed)


def objective(
    pair: PairOfNetworks, method: str, labels: torch.Tensor, student: Network, teacher: Network
) -> Objective:
    cls = objectives.get(method)
    options = cls.Options()
    image = torch.zeros(2, 3, pair.size, pair.size)
    shapes = []
    for net, layers in (
        (student, cls.student_layers(options)),
        (teacher, cls.teacher_layers(options)),
    ):
        with torch.no_grad():
            _, features = net.eval().with_features(image, net.expanded(layers))
        shapes.append({name: tuple(x.shape[1:]) for name, x in features.items()})
    groups = {"groups": student.groups, "teacher_groups": teacher.groups}
    return cls(options, Setting(labels, pair.n_classes, *shapes, **groups))


# The usual way


def data_set(pair: PairOfNetworks, folder: Path):
    """torchvision's data set, and its labels (n,)."""
    from torchvision import datasets, transforms

    each = [transforms.ToTensor(), transforms.Normalize(pair.mean, pair.std)]
    if not pair.augment:
        each.insert(0, transforms.Grayscale(3))
        every = transforms.Compose(each)
        if folder == Path():  # noise in the place of its files
            pixels, labels = some_pixels(pair)
            images = datasets.MNIST.__new__(datasets.MNIST)
            images.data, images.targets = torch.from_numpy(pixels[..., 0].copy()), labels
            images.transform, images.target_transform = every, None
            return images, labels
        images = datasets.MNIST(str(folder), train=True, transform=every)
        return images, images.targets
    each = [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip(), *each]
    images = datasets.CIFAR10.__new__(datasets.CIFAR10)  # without its files
    images.data, labels = some_pixels(pair)
    images.targets = labels.tolist()
    images.transform, images.target_transform = transforms.Compose(each), None
    return images, labels


def some_pixels(pair: PairOfNetworks) -> tuple[np.ndarray, torch.Tensor]:
    rng = np.random.default_rng(0)
    shape = (pair.n_images, pair.size, pair.size, 3)
    pixels = rng.integers(256, size=shape, dtype=np.uint8)
    return pixels, torch.from_numpy(rng.integers(pair.n_classes, size=pair.n_images))


def usual_way(contestant: Contestant, method: str) -> float:
    """Seconds per image."""
    pair = PAIRS[contestant.pair]
    torch.manual_seed(0)
    torch.set_num_threads(contestant.threads)
    crd.similarities = gathered
    images, labels = data_set(pair, Path(contestant.folder))
    loader = torch.utils.data.DataLoader(
        WithRows(images),
        pair.batch_size,
        shuffle=True,
        num_workers=contestant.workers,
        pin_memory=contestant.device == "cuda",
    )
    student, teacher = network(pair, pair.student, 0), network(pair, pair.teacher, 1)
    loss_of = objective(pair, method, labels, student, teacher)
    device = contestant.device
    student, teacher = plain(student).to(device), plain(teacher).to(device).eval()
    loss_of = loss_of.to(device)
    layers, others = loss_of.reads
    optimiser = the_optimiser(pair, [*student.parameters(), *loss_of.parameters()])
    student.train()
    running = correct = 0.0
    for number, (x, y, rows) in enumerate(loader):
        if number == 2:
            start = time.perf_counter()
        x, y, rows = (part.to(device, non_blocking=True) for part in (x, y, rows))
        step = Step(rows=rows, labels=y, logits=torch.empty(0))
        if loss_of.uses_teacher:
            with torch.no_grad():
                step.teacher_logits, step.teacher_features = teacher.with_features(x, others)
        step.logits, step.features = student.with_features(x, layers)
        loss = loss_of(step)["loss"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        running += loss.item()
        correct += (step.logits.argmax(1) == y).float().mean().item()
        if number == contestant.steps + 1:
            break
    return (time.perf_counter() - start) / (contestant.steps * pair.batch_size)


def the_optimiser(pair: PairOfNetworks, parameters: list) -> torch.optim.Optimizer:
    options = dict(pair.recipe)
    classes = {"sgd": torch.optim.SGD, "adadelta": torch.optim.Adadelta}
    return classes[options.pop("optimizer")](parameters, **options)


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


def unpack(data: Path, folder: Path) -> None:
    """torchvision reads the IDX files unpacked."""
    (folder / "MNIST/raw").mkdir(parents=True)
    for path in (data / "MNIST/raw").glob("*.gz"):
        (folder / "MNIST/raw" / path.stem).write_bytes(gzip.decompress(path.read_bytes()))


# kdpipe


def kdpipe_way(contestant: Contestant, method: str) -> float:
    """Seconds per image, and the share of an image in the making of the table."""
    pair = PAIRS[contestant.pair]
    device = contestant.device
    compute = Compute(device=device, precision=contestant.precision)
    compute.start()
    pixels, labels = all_pixels(pair, Path(contestant.folder))
    n = contestant.steps * pair.batch_size
    kept = torch.from_numpy(pixels[:n]).permute(0, 3, 1, 2).to(device)
    images = Images(kept, labels[:n].to(device), np.arange(n))
    student, other = network(pair, pair.student, 0), network(pair, pair.teacher, 1)
    # The bank of CRD is that of all images, as in the usual way.
    loss_of = objective(pair, method, labels, student, other).to(device)
    student, other = student.to(device), other.to(device)
    layers = loss_of.reads[1]
    augment = Pipeline([resolve(augmentations, name) for name in pair.augment], 0)
    live = LiveTeacher(other, layers, pair.batch_size)
    teacher = live if loss_of.uses_teacher else None
    paid = 0.0
    if contestant.tabulated and teacher is not None and set(layers) <= {"penultimate"}:
        path = Path(contestant.folder) / f"{os.getpid()}.safetensors"
        teacher, each_view = tabulated(live, images, augment, compute, path)
        paid = each_view * (augment.views or 1) / pair.student_epochs
    val = Images(images.pixels[:2], images.labels[:2], images.ids[:2])
    recipe = Recipe(epochs=1, batch_size=pair.batch_size, **pair.recipe)
    seconds = []
    for _ in range(2):  # the first one warms up
        start = time.perf_counter()
        with redirect_stdout(None):
            none = Checkpoint(None)
            fit(student, loss_of, teacher, images, val, recipe, augment, compute, 0, none)
        seconds.append(time.perf_counter() - start)
    return seconds[1] / n + paid


def all_pixels(pair: PairOfNetworks, folder: Path) -> tuple[np.ndarray, torch.Tensor]:
    """Images uint8 (n, size, size, 3) and labels (n,)."""
    if pair.augment or not (folder / "MNIST").is_dir():
        return some_pixels(pair)
    from torchvision.datasets import MNIST

    found = MNIST(str(folder), train=True)
    return np.repeat(found.data.numpy()[..., None], 3, axis=3), found.targets


def tabulated(
    live: LiveTeacher, images: Images, augment: Pipeline, compute: Compute, path: Path
) -> tuple[TabulatedTeacher, float]:
    """A table, and the seconds an image's view takes. One view is computed; the others, which are
    the same work, are copies."""

    def outputs(rows: torch.Tensor) -> dict[str, torch.Tensor]:
        draws = augment.draws_of(torch.zeros(len(rows), dtype=torch.int64, device=device))
        with compute.autocast():
            x = augment.apply(as_float(images.pixels[rows]), draws)
            logits, features = live(x, rows)
        return {"logits": logits, **features}

    device = images.labels.device
    n, views = len(images.labels), augment.views or 1
    shapes = {k: ((views, n, *x.shape[1:]), x.dtype) for k, x in outputs(torch.arange(2)).items()}
    tensors = table.create(path, shapes)
    start = time.perf_counter()
    for rows in torch.arange(n).split(live.batch_size):
        for name, x in outputs(rows).items():
            tensors[name][0, rows] = x.cpu()
    seconds = time.perf_counter() - start
    for x in tensors.values():
        x[1:] = x[0]
    return TabulatedTeacher(path, live.layers, device), seconds / n
