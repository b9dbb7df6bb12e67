"""Crop invariance: agreement between two random crops of an image."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from kdpipe.data.augment.shared.geometry import random_window, resample
from kdpipe.probes.base import probes
from kdpipe.probes.shared.agreement import AgreementProbe
from kdpipe.probes.shared.pictures import PicturedOptions


class CropOptions(PicturedOptions):
    scales: list[float] = Field(
        [0.4, 0.3, 0.5, 0.6],
        min_length=1,
        description="Area of the crop as a fraction of the image; the first is primary.",
    )
    ratio: tuple[float, float] = Field((3 / 4, 4 / 3), description="Range of width / height.")


@probes.register("crop")
class Crop(AgreementProbe):
    """Two crops of fixed scale and free aspect (Ojha et al. 2023, Table 10)."""

    Options = CropOptions
    title = "Crop invariance"
    draws = 8
    strength_key = "scale"

    def strengths(self) -> list[float | int]:
        return list(self.options.scales)

    def views(self, images: Tensor, u: Tensor, strength: float) -> tuple[Tensor, Tensor]:
        h, w = images.shape[-2:]
        one, two = (
            resample(images, *random_window(part, (strength, strength), self.options.ratio, (h, w)))
            for part in (u[:, :4], u[:, 4:])
        )
        return one, two
