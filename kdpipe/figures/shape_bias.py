"""Does a student decide by shape or by another cue, like its teacher?"""

from __future__ import annotations

from typing import Any

from kdpipe.figures.base import PropertyFigure, Tables, figures


@figures.register("shape_bias")
class ShapeBias(PropertyFigure):
    probes = ("shape_bias",)
    metrics = ("shape_bias", "shape_accuracy")
    xlabel = "Domain of the images"
    title = "Shape against another cue"
    caption = (
        "Images whose shape belongs to one class and whose other cue (texture, or the colour of "
        "the background) belongs to another. Shape decisions "
        "are counted among the answers that match one of the two; at the dotted line both cues "
        "weigh the same. Accuracy by shape counts all images."
    )

    def decorate(self, ax: Any, tables: Tables, pair: str, metric: str) -> None:
        if metric == "shape_bias":
            ax.axhline(50, color="#444444", lw=1, ls=":", zorder=1)
