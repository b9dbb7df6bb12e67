"""What colour jitter does to an image."""

from __future__ import annotations

from kdpipe.figures.base import figures
from kdpipe.figures.shared.views import ViewsFigure


@figures.register("colour_views")
class ColourViews(ViewsFigure):
    probes = ("colour",)
    reads_records = ("colour",)
    strength = "strength"
    title = "Preview of the colour jitter"
    caption = (
        "A few test images, and what each becomes at every strength. A network agrees with itself "
        "on an image if it gives both the same answer."
    )
