"""How closely does a student repeat its teacher on test images?"""

from __future__ import annotations

from kdpipe.figures.base import PropertyFigure, figures


@figures.register("fidelity")
class Fidelity(PropertyFigure):
    probes = ("fidelity",)
    metrics = ("top1_agreement", "predictive_kl")
    xlabel = "Domain of the test images"
    title = "Fidelity to the teacher's answers"
    caption = (
        "Share of test images on which the student's top answer is the teacher's, and the "
        "divergence of the student's probabilities from the teacher's (KL, 0 = equal). Fidelity "
        "on images like those of training is what the objectives ask for; it is no property by "
        "itself."
    )
