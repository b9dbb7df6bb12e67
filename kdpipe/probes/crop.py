"""Crop invariance: agreement between two random crops of an image."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from kdpipe.data.augment.shared.geometry import random_window, resample
from kdpipe.probes.base import probes
from kdpipe.probes.shared.agreement import AgreementProbe
from kdpipe.probes.shared.description import Panels, Preview
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
    draws = 8
    strength_key = "scale"
    title = "Crop invariance"
    compared = "same answer on two random crops"
    how = (
        "Two random crops of each test image, of a given share of its area, go through the "
        "network; counted is how often both get the same class. The crops of an image are the same "
        "for every network."
    )
    panels = Panels(
        title="Invariance to cropping",
        x="Share of the image that a crop shows",
        caption="Each test image is cropped twice at random at a given scale. Agreement is the "
        "share of images whose two crops get the same answer; the second panel counts only images "
        "whose first crop gets the right one, the third is accuracy on the crops.",
    )
    preview = Preview(
        title="Preview of the crops",
        caption="A few test images, and the two random crops that are compared, by the share of "
        "the image that a crop shows. A network agrees with itself if it gives both the same "
        "answer.",
    )
    chapter = "invariances"
    place = 30

    def strengths(self) -> list[float | int]:
        return list(self.options.scales)

    def views(self, images: Tensor, u: Tensor, strength: float) -> tuple[Tensor, Tensor]:
        h, w = images.shape[-2:]
        one, two = (
            resample(images, *random_window(part, (strength, strength), self.options.ratio, (h, w)))
            for part in (u[:, :4], u[:, 4:])
        )
        return one, two
