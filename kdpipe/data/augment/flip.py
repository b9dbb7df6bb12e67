"""Horizontal flip of half of the images."""

from __future__ import annotations

import torch
from torch import Tensor

from kdpipe.data.augment.base import Augmentation, augmentations


@augmentations.register("flip")
class Flip(Augmentation):
    """Mirrors an image with probability 1/2; not for digits, which it turns into other signs."""

    draws = 1

    def __call__(self, images: Tensor, u: Tensor) -> Tensor:
        return torch.where((u[:, 0] < 0.5)[:, None, None, None], images.flip(-1), images)

    @property
    def views(self) -> int:
        return 2

    def view(self, u: Tensor) -> Tensor:
        return (u[:, 0] < 0.5).long()

    def draws_of(self, view: Tensor) -> Tensor:
        return 0.75 - 0.5 * view[:, None].float()
