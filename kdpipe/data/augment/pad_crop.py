"""Shift by whole pixels: pad, then crop back to the size."""

from __future__ import annotations

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from kdpipe.data.augment._geometry import windows
from kdpipe.data.augment.base import Augmentation, augmentations
from kdpipe.options import Options


class PadCropOptions(Options):
    pad: int = Field(4, ge=1, description="Pixels on every side.")


@augmentations.register("pad_crop")
class PadCrop(Augmentation):
    """The shift augmentation of the CIFAR recipes; what enters from outside is black."""

    Options = PadCropOptions
    draws = 2

    def __call__(self, images: Tensor, u: Tensor) -> Tensor:
        pad = self.options.pad
        top, left = (u * (2 * pad + 1)).long().unbind(1)
        padded = F.pad(images, (pad, pad, pad, pad))
        return windows(padded, top, left, (images.shape[-2], images.shape[-1]))
