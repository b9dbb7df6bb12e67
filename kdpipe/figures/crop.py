"""Does a student give two crops of an image the same answer?"""

from __future__ import annotations

from kdpipe.figures.base import PropertyFigure, figures


@figures.register("crop")
class Crop(PropertyFigure):
    probes = ("crop",)
    metrics = ("agreement", "agreement_correct", "accuracy")
    xlabel = "Share of the image that a crop shows"
    title = "Invariance to cropping"
    caption = (
        "Each test image is cropped twice at random at a given scale. Agreement is the share of "
        "images whose two crops get the same answer; the second panel counts only images "
        "whose first crop gets the right one, the third is accuracy on the crops."
    )
