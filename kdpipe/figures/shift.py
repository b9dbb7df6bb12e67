"""Does a student keep its answer when an image moves by some pixels?"""

from __future__ import annotations

from kdpipe.figures.base import PropertyFigure, figures


@figures.register("shift")
class Shift(PropertyFigure):
    probes = ("shift",)
    metrics = ("agreement", "agreement_correct", "accuracy")
    xlabel = "Largest shift (pixels)"
    title = "Invariance to shifts"
    caption = (
        "Each test image is shown at two random offsets of at most so many pixels. Agreement is "
        "the share of images that get the same answer both times; the second panel asks for the "
        "right answer both times, the third for accuracy on the shifted images."
    )
