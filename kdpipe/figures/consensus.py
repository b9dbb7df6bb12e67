"""Does a student agree with its teacher where neither was trained?"""

from __future__ import annotations

from kdpipe.figures.base import PropertyFigure, figures


@figures.register("consensus")
class Consensus(PropertyFigure):
    probes = ("consensus",)
    metrics = ("consensus", "consensus_teacher_wrong", "error_consistency")
    xlabel = "Domain of the images"
    title = "The same answers on unseen domains"
    caption = (
        "Share of images on which a student gives the same answer as the teacher, right or "
        "wrong, in domains that it was not trained on; the same among images that the teacher "
        "gets wrong; and error consistency, the agreement on being right or wrong beyond what "
        "the two accuracies explain (Cohen's κ, 0 = chance)."
    )
