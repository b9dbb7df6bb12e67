"""What a shift by a few pixels does to an image."""

from __future__ import annotations

from kdpipe.figures.base import figures
from kdpipe.figures.shared.views import ViewsFigure


@figures.register("shift_views")
class ShiftViews(ViewsFigure):
    probes = ("shift",)
    reads_records = ("shift",)
    strength = "shift"
    unit = " px"
    title = "Preview of the shifts"
    caption = (
        "A few test images, and the two windows of the slightly enlarged image that are compared, "
        "by the largest shift in pixels of a 224-pixel image. A network agrees with itself if it "
        "gives both the same answer."
    )
