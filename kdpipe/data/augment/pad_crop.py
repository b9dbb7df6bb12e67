"""Shift by whole pixels: pad, then crop back to the size."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from kdpipe.base.options import Options
from kdpipe.data.augment.base import Augmentation, augmentations
from kdpipe.data.augment.shared.geometry import windows


class PadCropOptions(Options):
    pad: int = Field(4, ge=1, description="Pixels on every side.")


@augmentations.register("pad_crop")
class PadCrop(Augmentation):
    """The shift augmentation of the CIFAR recipes; pixels from outside the image are black."""

    Options = PadCropOptions
    draws = 2

    def __call__(self, images: Tensor, u: Tensor) -> Tensor:
        pad = self.options.pad
        top, left = self._offsets(u).unbind(1)
        padded = F.pad(images, (pad, pad, pad, pad))
        return windows(padded, top, left, (images.shape[-2], images.shape[-1]))

    def _offsets(self, u: Tensor) -> Tensor:
        """Rows and columns (n, 2) at which the windows start in the padded image."""
        return (u * (2 * self.options.pad + 1)).long()

    @property
    def views(self) -> int:
        return (2 * self.options.pad + 1) ** 2

    def view(self, u: Tensor) -> Tensor:
        top, left = self._offsets(u).unbind(1)
        return top * (2 * self.options.pad + 1) + left

    def draws_of(self, view: Tensor) -> Tensor:
        side = 2 * self.options.pad + 1
        return (torch.stack([view // side, view % side], 1) + 0.5) / side
