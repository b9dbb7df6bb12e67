"""Shift invariance: agreement between two crops that differ by a few pixels of position."""

from __future__ import annotations

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from kdpipe.data.augment.shared.geometry import windows
from kdpipe.probes.base import probes
from kdpipe.probes.shared.agreement import AgreementProbe
from kdpipe.probes.shared.description import Panels, Preview
from kdpipe.probes.shared.pictures import PicturedOptions


class ShiftOptions(PicturedOptions):
    shifts: list[int] = Field(
        [16, 8, 24, 32],
        min_length=1,
        description="Largest shift m in pixels of a 224-pixel image, scaled to the image size; "
        "the first is primary.",
    )
    distinct: bool = Field(
        False,
        description="Never cut the same window twice. The paper draws independently, which gives "
        "1/(m+1)² identical pairs: few at 224 pixels, one in nine of a 28-pixel image at m = 16.",
    )


@probes.register("shift")
class Shift(AgreementProbe):
    """Resize to 256/224 of the size, cut size + m from the centre, two random crops of it.

    Ojha et al. 2023, Sec. 11.4: 256, 224 + m and 224 pixels. For images of another size m is
    scaled with it and rounded, at least one pixel. The images are those of the data set, so that
    one that was stored as a centre crop is enlarged again. No flips, which would turn a digit into
    another sign.
    """

    Options = ShiftOptions
    draws = 2
    strength_key = "shift"
    remedy = "set 'distinct: true', which never cuts the same window twice, or raise the shift"
    title = "Shift invariance"
    compared = "same answer after a shift"
    how = (
        "Two windows of a slightly enlarged test image, a few pixels apart, go through the "
        "network; counted is how often both get the same class."
    )
    panels = Panels(
        title="Invariance to shifts",
        x="Largest shift (pixels of a 224-pixel image)",
        caption="Each test image is shown at two random offsets of at most so many pixels. "
        "Agreement is the share of images that get the same answer both times; the second panel "
        "counts only images whose first view gets the right one, the third is accuracy on the "
        "views.",
    )
    preview = Preview(
        title="Preview of the shifts",
        caption="A few test images, and the two windows of the slightly enlarged image that are "
        "compared, by the largest shift in pixels of a 224-pixel image. A network agrees with "
        "itself if it gives both the same answer.",
        unit=" px",
    )
    chapter = "invariances"
    place = 40
    # At few pixels a shift is often none: only different windows are compared.
    audit_options = {"distinct": True}

    def strengths(self) -> list[float | int]:
        return list(self.options.shifts)

    def views(self, images: Tensor, u: Tensor, strength: float) -> tuple[Tensor, Tensor]:
        h, w = images.shape[-2:]
        m = max(1, round(strength * h / 224))
        # Room for the largest shift where 256/224 would leave less.
        large = [max(round(side * 256 / 224), side + m) for side in (h, w)]
        enlarged = F.interpolate(images, large, mode="bilinear", antialias=True)
        top, left = (round((a - b - m) / 2) for a, b in zip(large, (h, w), strict=True))
        centre = enlarged[:, :, top : top + h + m, left : left + w + m]
        places = (m + 1) ** 2
        first = (u[:, 0] * places).long()
        if self.options.distinct:
            second = (first + 1 + (u[:, 1] * (places - 1)).long()) % places
        else:
            second = (u[:, 1] * places).long()
        one, two = (windows(centre, p // (m + 1), p % (m + 1), (h, w)) for p in (first, second))
        return one, two
