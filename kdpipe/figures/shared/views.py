"""Preview of a transformation: the views of an image that an invariance probe compares."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kdpipe.base.errors import KdpipeError
from kdpipe.figures.base import Figure
from kdpipe.figures.shared.pictures import first_of, pictures, show
from kdpipe.probes import probes
from kdpipe.results import words
from kdpipe.results.tables import Tables

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

ENDING = "_views"
"""What the name of such a figure has after that of its probe."""


class ViewsFigure(Figure):
    """Images down, strengths across; each cell holds what the network is shown."""

    def __init__(self, probe: str) -> None:
        about = probes.get(probe).preview
        if about is None:
            raise KdpipeError(f"The probe {probe} has no preview of its views.")
        self._probe = probe
        self.probes = self.reads_records = (probe,)
        self.title, self.caption, self.unit = about.title, about.caption, about.unit

    def missing(self, tables: Tables) -> str | None:
        if reason := super().missing(tables):
            return reason
        if not self._views(tables):
            return f"This study keeps no views for pictures (the option pictured of {self._probe})."
        return None

    def draw(self, tables: Tables) -> Canvas:
        from kdpipe.figures.shared import style

        views = self._views(tables)
        (key,) = {key for _, _, key, _ in views}
        strengths = sorted({strength for _, _, _, strength in views})
        lines = list(dict.fromkeys((domain, image) for domain, image, *_ in views))
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
                found = views.get((domain, image, key, strength))
                if found is None:
                    ax.set_axis_off()
                    continue
                show(row[0], found["image"])
                show(ax, _beside(found))
            row[0].set_ylabel(f"{domain}\nimage {image}", size=8)
        axes[0][0].set_title("Image", size=8.5)
        for ax, strength in zip(axes[0][1:], strengths, strict=True):
            ax.set_title(f"{key} {strength:g}{self.unit}", size=8.5)
        return fig

    def _views(self, tables: Tables) -> dict[tuple[str, str, str, float], dict[str, Any]]:
        """Pictures by domain, image, key and value of the strength; pairs that probe alike show
        the same."""
        found: dict[tuple[str, str, str, float], dict[str, Any]] = {}
        for probed in tables.probed(self._probe):
            one = first_of(tables, probed, probed.pair.first_method)
            for where, shown in pictures(one).items():
                value = words.condition_values(where)
                domain, image = value.pop("domain"), value.pop("image")
                ((key, strength),) = value.items()
                found.setdefault((domain, image, key, float(strength)), shown)
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
