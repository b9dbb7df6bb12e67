"""Augmentations work on whole batches and take their random numbers as an argument."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kdpipe.base.options import Options
from kdpipe.base.plugin import PluginRef
from kdpipe.base.seeding import stream, uniforms
from kdpipe.data.augment import augmentations as augmentations
from kdpipe.data.images import centre


class Augmentation(ABC):
    """One transformation; ``draws`` is how many uniform numbers it needs per image.

    With ``resizes`` it brings images of any size to ``size`` pixels, where the pipeline sets it.
    One that is ``fixed`` draws the same numbers for an image in every epoch and may change its
    label; the pipeline tells it the ``classes`` of the images.

    >>> @augmentations.register("fade")
    ... class Fade(Augmentation):
    ...     "Darkens an image, by up to a half."
    ...     draws = 1
    ...     def __call__(self, images, u):
    ...         return images * (1 - u[:, :, None, None] / 2)
    >>> Fade(Options())(torch.ones(2, 3, 1, 1), torch.tensor([[0.0], [0.5]]))[:, 0, 0, 0].tolist()
    [1.0, 0.75]
    """

    name: str
    Options: type[Options] = Options
    draws: int = 0
    resizes: bool = False
    fixed: bool = False
    size: int | None = None
    classes: Sequence[str] = ()

    def __init__(self, options: Any) -> None:
        self.options = options

    @abstractmethod
    def __call__(self, images: Tensor, u: Tensor) -> Tensor:
        """``images`` float in [0, 1] (n, 3, h, w), ``u`` uniform (n, draws); same shape back, or
        ``size`` where it resizes."""

    def relabel(self, labels: Tensor, u: Tensor) -> Tensor:
        """The labels (n,) of images for which it draws ``u`` in every epoch, where ``fixed``."""
        return labels

    @property
    def views(self) -> int | None:
        """Number of views it makes of an image; None if they cannot be counted.

        A view depends on nothing but the image and the view's number.
        """
        return None

    def view(self, u: Tensor) -> Tensor:
        """Numbers (n,), int64, of the views that ``u`` (n, draws) selects."""
        raise NotImplementedError

    def draws_of(self, view: Tensor) -> Tensor:
        """Numbers (n, draws) that select the views (n,); the inverse of :meth:`view`."""
        raise NotImplementedError


class Pipeline:
    """The augmentations of one training run, in the order the study lists them.

    ``size``: what networks see. Images may be larger: then a step that resizes cuts from all of
    an image, and without such a step its middle is taken first. ``classes``: names of the labels,
    for steps that change them.
    """

    def __init__(
        self,
        refs: Sequence[PluginRef],
        seed: int,
        size: int | None = None,
        classes: Sequence[str] = (),
    ) -> None:
        self.steps: list[Augmentation] = []
        for ref in refs:
            step: Augmentation = ref.make()
            step.size, step.classes = size, classes
            self.steps.append(step)
        self.seed = seed
        self.size = size

    def draws(self, ids: np.ndarray, epoch: int) -> list[Tensor]:
        """What each step draws for the images ``ids`` (n,): uniform (n, draws) each, on the CPU.

        Row i is a function of (seed, epoch, ids[i]) alone, and of a fixed step of the same without
        the epoch.
        """
        keys = [
            stream("augment", self.seed, *([] if step.fixed else [epoch]), k)
            for k, step in enumerate(self.steps)
        ]
        return [
            torch.from_numpy(uniforms(key, ids, step.draws))
            for key, step in zip(keys, self.steps, strict=True)
        ]

    def relabel(self, labels: Tensor, ids: np.ndarray) -> Tensor:
        """What the images ``ids`` (n,) are labelled with in training, where ``labels`` (n,) are
        those of the images as they are."""
        if any(step.fixed for step in self.steps):
            for step, u in zip(self.steps, self.draws(ids, 0), strict=True):
                labels = step.relabel(labels, u.to(labels.device)) if step.fixed else labels
        return labels

    def apply(self, images: Tensor, draws: Sequence[Tensor]) -> Tensor:
        """Augment a batch by the numbers in ``draws``, one tensor (n, draws) a step."""
        if self.size is not None and not any(step.resizes for step in self.steps):
            images = centre(images, self.size)
        for step, u in zip(self.steps, draws, strict=True):
            images = step(images, u)
        return images

    def __call__(self, images: Tensor, ids: np.ndarray, epoch: int) -> Tensor:
        """Augment a batch; image i is a function of (seed, epoch, ids[i]) alone."""
        return self.apply(images, [u.to(images.device) for u in self.draws(ids, epoch)])

    @property
    def views(self) -> int | None:
        """Number of views of an image, 1 without augmentation; None if they cannot be counted."""
        counts = [step.views for step in self.steps]
        known = [count for count in counts if count is not None]
        return math.prod(known) if len(known) == len(counts) else None

    def view(self, draws: Sequence[Tensor]) -> Tensor | None:
        """Numbers (n,) of the views that ``draws`` select; None if there is only one."""
        total: Tensor | None = None
        for step, u in zip(self.steps, draws, strict=True):
            assert step.views is not None
            own = step.view(u)
            total = own if total is None else total * step.views + own
        return total

    def draws_of(self, view: Tensor) -> list[Tensor]:
        """Numbers for each step that select the views (n,)."""
        found = []
        for step in reversed(self.steps):
            assert step.views is not None
            found.append(step.draws_of(view % step.views))
            view = view // step.views
        return found[::-1]
