"""How accurate are teacher and students in each domain?"""

from __future__ import annotations

from kdpipe.figures.base import PropertyFigure, figures


@figures.register("accuracy")
class Accuracy(PropertyFigure):
    probes = ("accuracy",)
    metrics = ("accuracy", "accuracy_gap", "worst_domain_accuracy")
    xlabel = "Domain of the test images"
    title = "Accuracy in every domain"
    caption = (
        "Share of test images whose top answer is right, per domain. Domains that a student "
        "never saw in training show whether the teacher's domain knowledge reached it. Where "
        "several domains were measured: the distance from the best to the worst, and the worst."
    )
