"""A training of at most a second, with all the state that an interruption could lose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from kdpipe.base.plugin import resolve
from kdpipe.data.augment import augmentations
from kdpipe.data.augment.base import Pipeline
from kdpipe.distill import objectives
from kdpipe.distill.base import Setting
from kdpipe.distill.crd import CRD, CRDOptions
from kdpipe.distill.hint import Hint, HintOptions
from kdpipe.distill.kl import KL, KLOptions
from kdpipe.distill.labels import Labels, LabelsOptions
from kdpipe.distill.soft_label import SoftLabel, SoftLabelOptions
from kdpipe.models.base import Layers, Network
from kdpipe.training.checkpoint import Checkpoint
from kdpipe.training.compute import Compute
from kdpipe.training.loop import Images, fit
from kdpipe.training.recipe import Recipe
from kdpipe.training.teacher import LiveTeacher

CLASSES, SIZE, N = 4, 12, 30
SHIFT = [resolve(augmentations, {"name": "pad_crop", "pad": 1})]


def some_images(n: int = N, seed: int = 0) -> Images:
    """Noise with a bright square in the corner that is the label."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % CLASSES
    pixels = rng.integers(90, size=(n, 3, SIZE, SIZE)).astype(np.uint8)
    half = SIZE // 2
    for image, label in zip(pixels, labels, strict=True):
        top, left = half * (label // 2), half * (label % 2)
        image[:, top : top + half, left : left + half] += 120
    return Images(torch.from_numpy(pixels), torch.from_numpy(labels), 7 * np.arange(n))


def small_network(seed: int = 0) -> Network:
    """Everything whose state has to survive: convolution, batch normalisation, dropout."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        body = nn.Sequential(
            nn.Conv2d(3, 6, 3, stride=2),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(150, 8),
            nn.ReLU(),
            nn.Dropout(0.4),
            nn.Linear(8, CLASSES),
        )
    return Network(body, Layers("5", "2", "0", ("2", "5")), (0.3,) * 3, (0.25,) * 3)


class KilledError(Exception):
    """Stands for whatever ends a process without asking."""


class FailingPipeline(Pipeline):
    """Raises before the batch number ``stop[1]`` of the epoch ``stop[0]``, both from 0.

    Batches that were trained before an earlier interruption do not count.
    """

    def __init__(self, seed: int, stop: tuple[int, int] | None) -> None:
        super().__init__(SHIFT, seed)
        self.stop = stop
        self.calls = 0

    def draws(self, ids: np.ndarray, epoch: int) -> list[Tensor]:
        self.epoch = epoch
        return super().draws(ids, epoch)

    def apply(self, images: Tensor, draws: Sequence[Tensor]) -> Tensor:
        if self.stop and self.epoch == self.stop[0]:
            if self.calls == self.stop[1]:
                raise KilledError
            self.calls += 1
        return super().apply(images, draws)


def make_objective(name: str | dict[str, Any], gamma: float = 0.1):
    """By name with options of its own here, or as a study names it with its options."""
    shapes = {"penultimate": (8,), "hint": (6, 5, 5)}
    setting = Setting(some_images().labels, CLASSES, shapes, shapes)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        if isinstance(name, dict):
            return resolve(objectives, name).make(setting)
        if name == "crd":
            return CRD(CRDOptions(negatives=6, dimension=5), setting)
        if name == "kl":
            return KL(KLOptions(temperature=4, gamma=gamma), setting)
        if name == "hint":
            return Hint(HintOptions(), setting)
        if name == "soft_label":
            return SoftLabel(SoftLabelOptions(), setting)
        return Labels(LabelsOptions(), setting)


def fitted(
    objective_name: str | dict[str, Any] = "labels",
    recipe: Recipe | None = None,
    seed: int = 0,
    checkpoint: Checkpoint | None = None,
    stop: tuple[int, int] | None = None,
    teacher=None,
    device: str = "cpu",
    network=None,
    taught=None,
    gamma: float = 0.1,
):
    """Train a small network; returns it with its objective and history."""
    network = (network or small_network()).to(device)
    objective = make_objective(objective_name, gamma).to(device)
    if teacher is None and objective.uses_teacher:
        layers = objective.reads[1]
        teacher = LiveTeacher(small_network(seed=11).to(device), layers)
    images, val = (
        Images(i.pixels.to(device), i.labels.to(device), i.ids)
        for i in (some_images(), some_images(12, seed=1))
    )
    history = fit(
        network,
        objective,
        teacher,
        images,
        val,
        recipe or Recipe(epochs=4, batch_size=8, lr=0.5),
        FailingPipeline(seed, stop),
        Compute(device=device),
        seed,
        checkpoint or Checkpoint(None),
        taught=taught,
    )
    return network, objective, history


def assert_same_state(one: nn.Module, other: nn.Module) -> None:
    ours, theirs = one.state_dict(), other.state_dict()
    assert set(ours) == set(theirs)
    for name in ours:
        assert torch.equal(ours[name], theirs[name]), name
