"""Is a student as sure of itself as its teacher?"""

from __future__ import annotations

from typing import Any

from kdpipe.figures.base import PropertyFigure, Tables, figures


@figures.register("calibration")
class Calibration(PropertyFigure):
    probes = ("calibration",)
    metrics = ("ece", "confidence_gap")
    xlabel = "Domain of the test images"
    title = "Calibration"
    caption = (
        "Expected calibration error: the distance between stated confidence and accuracy, averaged "
        "over bins of confidence (0 = calibrated). The second panel is mean confidence minus "
        "accuracy: above the dotted line a network is too sure of itself, below it too modest."
    )

    def decorate(self, ax: Any, tables: Tables, pair: str, metric: str) -> None:
        if metric == "confidence_gap":
            ax.axhline(0, color="#444444", lw=1, ls=":", zorder=1)
