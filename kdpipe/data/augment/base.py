"""Augmentations work on whole batches and take their random numbers as an argument."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kdpipe.options import Options
from kdpipe.plugin import PluginRef
from kdpipe.registry import Registry
from kdpipe.seeding import stream, uniforms


class Augmentation(ABC):
    """One transformation; ``draws`` is how many uniform numbers it needs per image."""

    name: str
    Options: type[Options] = Options
    draws: int = 0

    def __init__(self, options: Any) -> None:
        self.options = options

    @abstractmethod
    def __call__(self, images: Tensor, u: Tensor) -> Tensor:
        """``images`` float in [0, 1] (n, 3, h, w), ``u`` uniform (n, draws); same shape back."""


augmentations: Registry[Augmentation] = Registry("augmentations", "kdpipe.data.augment")


class Pipeline:
    """The augmentations of one training run, in the order the study lists them."""

    def __init__(self, refs: Sequence[PluginRef], seed: int) -> None:
        self.steps: list[Augmentation] = []
        for ref in refs:
            cls = augmentations.get(ref.name)
            self.steps.append(cls(cls.Options(**ref.options)))
        self.seed = seed

    def __call__(self, images: Tensor, ids: np.ndarray, epoch: int) -> Tensor:
        """Augment a batch; image i is a function of (seed, epoch, ids[i]) alone."""
        for position, step in enumerate(self.steps):
            key = stream("augment", self.seed, epoch, position)
            u = torch.from_numpy(uniforms(key, ids, step.draws)).to(images.device)
            images = step(images, u)
        return images
