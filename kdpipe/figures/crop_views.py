"""What random crops show of an image."""

from __future__ import annotations

from kdpipe.figures.base import figures
from kdpipe.figures.shared.views import ViewsFigure


@figures.register("crop_views")
class CropViews(ViewsFigure):
    probes = ("crop",)
    reads_records = ("crop",)
    strength = "scale"
    title = "Preview of the crops"
    caption = (
        "A few test images, and the two random crops that are compared, by the share of the image "
        "that a crop shows. A network agrees with itself if it gives both the same answer."
    )
