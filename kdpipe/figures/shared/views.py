"""Preview of a transformation: the views of an image that an invariance probe compares."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kdpipe.figures.base import Figure, Tables
from kdpipe.figures.shared.pictures import first_of, pictures, show
from kdpipe.results import words

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas


class ViewsFigure(Figure):
    """Images down, strengths across; each cell holds what the network is shown."""

    strength: str = ""
    """The key of the strength in the conditions."""
    unit: str = ""

    def missing(self, tables: Tables) -> str | None:
        if reason := super().missing(tables):
            return reason
        if not self._views(tables):
            return f"This study keeps no views for pictures (the option pictured of {self._probe})."
        return None

    @property
    def _probe(self) -> str:
        return self.probes[0]

    def draw(self, tables: Tables) -> Canvas:
        from kdpipe.figures.shared import style

        views = self._views(tables)
        strengths = sorted({strength for _, _, strength in views})
        lines = list(dict.fromkeys((domain, image) for domain, image, _ in views))
        pairs = any(not _is_clean(found) for found in views.values())
        ratios = [1.0, *([2.1 if pairs else 1.0] * len(strengths))]
        scale = min(1.25, 8.6 / sum(ratios))
        fig = style.Canvas(
            figsize=(scale * sum(ratios) + 0.9, (scale + 0.1) * len(lines) + 0.35),
            layout="constrained",
        )
        layout: Any = fig.get_layout_engine()
        layout.set(w_pad=0.07)
        axes = fig.subplots(len(lines), len(ratios), squeeze=False, width_ratios=ratios)
        for row, (domain, image) in zip(axes, lines, strict=True):
            for ax, strength in zip(row[1:], strengths, strict=True):
                found = views.get((domain, image, strength))
                if found is None:
                    ax.set_axis_off()
                    continue
                show(row[0], found["image"])
                show(ax, _beside(found))
            row[0].set_ylabel(f"{domain}\nimage {image}", size=8)
        axes[0][0].set_title("Image", size=8.5)
        for ax, strength in zip(axes[0][1:], strengths, strict=True):
            ax.set_title(f"{self.strength} {strength:g}{self.unit}", size=8.5)
        return fig

    def _views(self, tables: Tables) -> dict[tuple[str, str, float], dict[str, Any]]:
        """Pictures by domain, image and strength; pairs that probe alike show the same."""
        found: dict[tuple[str, str, float], dict[str, Any]] = {}
        for probed in tables.probed(self._probe):
            one = first_of(tables, probed, probed.pair.first_method)
            for where, shown in pictures(one).items():
                value = words.condition_values(where)
                key = value["domain"], value["image"], float(value[self.strength])
                found.setdefault(key, shown)
        return found


def _is_clean(found: dict[str, Any]) -> bool:
    """Whether the first view is the image itself."""
    import numpy as np

    return np.array_equal(found["image"], found["first_view"])


def _beside(found: dict[str, Any]) -> Any:
    """Both views with a gap between them, or the second alone where the first is the image."""
    import numpy as np

    if _is_clean(found):
        return found["second_view"]
    first, second = found["first_view"], found["second_view"]
    gap = np.ones((first.shape[0], max(1, round(0.1 * first.shape[1])), 3))
    return np.concatenate([first, gap, second], axis=1)
