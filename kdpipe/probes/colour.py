"""Colour invariance: agreement between an image and its colour-jittered version."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from kdpipe.data.augment.shared.colour import jitter
from kdpipe.probes.base import probes
from kdpipe.probes.shared.agreement import AgreementProbe
from kdpipe.probes.shared.description import Panels, Preview
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
    draws = 4
    strength_key = "strength"
    first_is_clean = True
    title = "Colour invariance"
    compared = "same answer after colour jitter"
    how = (
        "Each test image and one colour-jittered version of it go through the network; counted is "
        "how often both get the same class. The jitter of an image is the same for every network."
    )
    panels = Panels(
        title="Invariance to colour",
        x="Strength of the colour jitter",
        caption="Each test image is shown as it is and with random brightness, contrast, "
        "saturation and hue. Agreement is the share of images that get the same answer both times; "
        "the second panel counts only images whose unchanged view gets the right one, the third is "
        "accuracy over both views. In a claim pair the teacher was trained for the invariance and "
        "the students were not; in a control pair the teacher was not either.",
    )
    preview = Preview(
        title="Preview of the colour jitter",
        caption="A few test images, and what each becomes at every strength. A network agrees with "
        "itself on an image if it gives both the same answer.",
    )
    chapter = "invariances"
    place = 20

    def strengths(self) -> list[float | int]:
        return list(self.options.strengths)

    def views(self, images: Tensor, u: Tensor, strength: float) -> tuple[Tensor, Tensor]:
        return images, jitter(images, u, (strength, strength, strength, self.options.hue))
