"""Augmentations work on whole batches and take their random numbers as an argument."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kdpipe.data.images import centre
from kdpipe.options import Options
from kdpipe.plugin import PluginRef
from kdpipe.registry import Registry
from kdpipe.seeding import stream, uniforms


class Augmentation(ABC):
    """One transformation; ``draws`` is how many uniform numbers it needs per image.

    With ``resizes`` it brings images of any size to ``size`` pixels, where the pipeline sets it.
    """

    name: str
    Options: type[Options] = Options
    draws: int = 0
    resizes: bool = False
    size: int | None = None

    def __init__(self, options: Any) -> None:
        self.options = options

    @abstractmethod
    def __call__(self, images: Tensor, u: Tensor) -> Tensor:
        """``images`` float in [0, 1] (n, 3, h, w), ``u`` uniform (n, draws); same shape back, or
        ``size`` where it resizes."""


augmentations: Registry[Augmentation] = Registry("augmentations", "kdpipe.data.augment")


class Pipeline:
    """The augmentations of one training run, in the order the study lists them.

    ``size``: what networks see. Images may be larger: then a step that resizes cuts from all of
    an image, and without such a step its middle is taken first.
    """

    def __init__(self, refs: Sequence[PluginRef], seed: int, size: int | None = None) -> None:
        self.steps: list[Augmentation] = []
        for ref in refs:
            cls = augmentations.get(ref.name)
            step = cls(cls.Options(**ref.options))
            step.size = size
            self.steps.append(step)
        self.seed = seed
        self.size = size

    def __call__(self, images: Tensor, ids: np.ndarray, epoch: int) -> Tensor:
        """Augment a batch; image i is a function of (seed, epoch, ids[i]) alone."""
        if self.size is not None and not any(step.resizes for step in self.steps):
            images = centre(images, self.size)
        for position, step in enumerate(self.steps):
            key = stream("augment", self.seed, epoch, position)
            u = torch.from_numpy(uniforms(key, ids, step.draws)).to(images.device)
            images = step(images, u)
        return images
