"""Random resized crop."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from kdpipe.base.options import Options
from kdpipe.data.augment.base import Augmentation, augmentations
from kdpipe.data.augment.shared.geometry import random_window, resample


class ResizedCropOptions(Options):
    scale: tuple[float, float] = Field((0.08, 1.0), description="Range of the area fraction.")
    ratio: tuple[float, float] = Field((3 / 4, 4 / 3), description="Range of width / height.")


@augmentations.register("resized_crop")
class ResizedCrop(Augmentation):
    """A window of random area and aspect, resized to what networks see (Szegedy et al. 2015)."""

    Options = ResizedCropOptions
    draws = 4
    resizes = True

    def __call__(self, images: Tensor, u: Tensor) -> Tensor:
        o = self.options
        h, w = images.shape[-2:]
        size = None if self.size is None else (self.size, self.size)
        return resample(images, *random_window(u, o.scale, o.ratio, (h, w)), size)
