"""Does a student keep its answer when the colours of an image change?"""

from __future__ import annotations

from kdpipe.figures.base import PropertyFigure, figures


@figures.register("colour")
class Colour(PropertyFigure):
    probes = ("colour",)
    metrics = ("agreement", "agreement_correct", "accuracy")
    xlabel = "Strength of the colour jitter"
    title = "Invariance to colour"
    caption = (
        "Each test image is shown as it is and with random brightness, contrast, saturation and "
        "hue. Agreement is the share of images that get the same answer both times; the second "
        "panel counts only images whose unchanged view gets the right one, the third is accuracy "
        "over both views. In a claim pair the teacher was trained for the invariance and the "
        "students were not; in a control pair the teacher was not either."
    )
