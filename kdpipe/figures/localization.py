"""Does a student look where its teacher looks?"""

from __future__ import annotations

from typing import Any

from kdpipe.figures.base import PropertyFigure, Tables, figures


@figures.register("localization")
class Localization(PropertyFigure):
    probes = ("localization",)
    metrics = (
        "cam_similarity",
        "cam_win_rate",
        "cam_similarity_image",
        "cam_win_rate_image",
    )
    xlabel = "Domain of the test images"
    title = "Where the networks look"
    caption = (
        "Grad-CAM maps of the true class, compared with the teacher's map of the same image by "
        "cosine similarity, at the resolution of the layer and at that of the images. The win rate "
        "is the share of images on which a student's map is closer to the teacher's than the map "
        "of an independent student; the dotted line is a coin toss. Independent students are "
        "compared with each other to show its spread."
    )

    def decorate(self, ax: Any, tables: Tables, pair: str, metric: str) -> None:
        if metric.startswith("cam_win_rate"):
            ax.axhline(50, color="#444444", lw=1, ls=":", zorder=1)
