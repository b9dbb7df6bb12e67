"""Random brightness, contrast, saturation and hue."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from kdpipe.base.options import Options
from kdpipe.data.augment.base import Augmentation, augmentations
from kdpipe.data.augment.shared.colour import jitter


class ColorJitterOptions(Options):
    brightness: float = Field(0.4, ge=0, description="The factor is in 1 ± brightness.")
    contrast: float = Field(0.4, ge=0, description="The factor is in 1 ± contrast.")
    saturation: float = Field(0.4, ge=0, description="The factor is in 1 ± saturation.")
    hue: float = Field(0.2, ge=0, le=0.5, description="In turns of the colour circle.")


@augmentations.register("color_jitter")
class ColorJitter(Augmentation):
    """The colour-invariant teacher's augmentation (Ojha et al. 2023, Sec. 4.3)."""

    Options = ColorJitterOptions
    draws = 4

    def __call__(self, images: Tensor, u: Tensor) -> Tensor:
        o = self.options
        return jitter(images, u, (o.brightness, o.contrast, o.saturation, o.hue))
