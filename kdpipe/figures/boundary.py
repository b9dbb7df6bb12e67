"""Do teacher and student cut the plane through three images alike?"""

from __future__ import annotations

from kdpipe.figures.base import PropertyFigure, figures


@figures.register("boundary")
class Boundary(PropertyFigure):
    probes = ("boundary",)
    metrics = ("boundary_agreement", "boundary_iou")
    xlabel = "Domain of the images"
    title = "Decision boundaries"
    caption = (
        "Three random images span a plane; teacher and student label a grid of points on it. "
        "Shown is the share of points with equal labels, and the overlap of the regions of each "
        "class (intersection over union), averaged over many planes."
    )
