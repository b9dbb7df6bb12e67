"""Colour invariance: agreement between an image and its colour-jittered version."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from kdpipe.data.augment.shared.colour import jitter
from kdpipe.probes.base import probes
from kdpipe.probes.shared.agreement import AgreementProbe
from kdpipe.probes.shared.pictures import PicturedOptions


class ColourOptions(PicturedOptions):
    strengths: list[float] = Field(
        [0.4, 0.3, 0.5, 0.6],
        min_length=1,
        description="Brightness, contrast and saturation strength; the first is primary.",
    )
    hue: float = Field(0.2, ge=0, le=0.5, description="In turns of the colour circle.")


@probes.register("colour")
class Colour(AgreementProbe):
    """Ojha et al. 2023, Sec. 4.3, Fig. 4a–c and Tables 7–9."""

    Options = ColourOptions
    title = "Colour invariance"
    draws = 4
    strength_key = "strength"
    first_is_clean = True

    def strengths(self) -> list[float | int]:
        return list(self.options.strengths)

    def views(self, images: Tensor, u: Tensor, strength: float) -> tuple[Tensor, Tensor]:
        return images, jitter(images, u, (strength, strength, strength, self.options.hue))
