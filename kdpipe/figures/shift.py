"""Does a student keep its answer when an image moves by some pixels?"""

from __future__ import annotations

from kdpipe.figures.base import PropertyFigure, figures


@figures.register("shift")
class Shift(PropertyFigure):
    probes = ("shift",)
    metrics = ("agreement", "agreement_correct", "accuracy")
    xlabel = "Largest shift (pixels of a 224-pixel image)"
    title = "Invariance to shifts"
    caption = (
        "Each test image is shown at two random offsets of at most so many pixels. Agreement is "
        "the share of images that get the same answer both times; the second panel counts "
        "only images whose first view gets the right one, the third is accuracy on the views."
    )
