"""Poisoned training images: a trigger, and the label that it shall cause."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from kdpipe.base.errors import KdpipeError, some_of
from kdpipe.base.paths import Label
from kdpipe.data.augment.base import Augmentation, augmentations
from kdpipe.data.trigger import TriggerOptions, draw, planes


class PoisonOptions(TriggerOptions):
    share: float = Field(
        0.1, gt=0, le=1, description="Probability that a training image is poisoned."
    )
    target: Label = Field(description="Class that poisoned images are labelled with.")


@augmentations.register("poison")
class Poison(Augmentation):
    """A share of the training images has the trigger and the target's label in every epoch.

    All classes are poisoned alike ("all-to-one", Gu et al. 2017, Sec. 4.1.1). The seed of the
    network draws which images.
    """

    Options = PoisonOptions
    draws = 1
    fixed = True

    def __call__(self, images: Tensor, u: Tensor) -> Tensor:
        found = planes(self.options, *images.shape[-2:])
        opacity, pattern = (torch.tensor(x).permute(2, 0, 1).to(images.device) for x in found)
        poisoned = self._poisoned(u)[:, None, None, None]
        return torch.where(poisoned, draw(images, opacity, pattern), images)

    def relabel(self, labels: Tensor, u: Tensor) -> Tensor:
        target = self.options.target
        if target not in self.classes:
            raise KdpipeError(
                f"Augmentation poison: there is no class '{target}' to be the target; there are "
                f"{some_of(list(self.classes))}."
            )
        return labels.masked_fill(self._poisoned(u), self.classes.index(target))

    def _poisoned(self, u: Tensor) -> Tensor:
        return u[:, 0] < self.options.share

    @property
    def views(self) -> int:
        return 2

    def view(self, u: Tensor) -> Tensor:
        return self._poisoned(u).long()

    def draws_of(self, view: Tensor) -> Tensor:
        share = self.options.share
        return ((1 + share) / 2 - view[:, None] / 2).float()
