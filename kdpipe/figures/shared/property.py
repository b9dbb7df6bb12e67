"""The default figure of a property, from what its probe says of itself."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from kdpipe.figures.base import Figure
from kdpipe.probes import probes
from kdpipe.results import words
from kdpipe.results.tables import Tables

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas


class PropertyFigure(Figure):
    """Small multiples: pairs down, metrics across, methods side by side in each panel.

    A figure that adds to it is a file of the property's name; its class derives from this one.
    """

    height: float = 2.5
    """Of a panel with its labels, in inches."""

    def __init__(self, probe: str = "") -> None:
        self.probe = probe or self.probes[0]
        about = probes.get(self.probe)
        self.probes = (self.probe,)
        self.x = about.panels.x
        self.title = about.panels.title or words.property_words(self.probe).label
        self.caption = about.panels.caption or about.how or "Every metric of the property."
        self.metrics = [name for name, metric in about.metrics.items() if metric.panel]

    def decorate(self, ax: Any, tables: Tables, pair: str, metric: str) -> None:
        """Add what only this property has."""

    def draw(self, tables: Tables) -> Canvas:
        from kdpipe.figures.shared import style

        rows = tables.of(self.probes)
        pairs = sorted(rows["pair"].unique(), key=lambda p: tables.role(p, self.probe))
        measured = set(rows["metric"])
        shown = [m for m in self.metrics if m in measured] or sorted(measured)
        methods = words.method_order(rows["method"])
        # A single metric would leave a narrow column: pairs then stand side by side.
        columns = {1: min(2, len(pairs)), 4: 2}.get(len(shown), len(shown))
        fig, axes = style.grid(-(-len(pairs) * len(shown) // columns), columns, height=self.height)
        panels = itertools.product(pairs, shown)
        banded = False
        for ax, panel in itertools.zip_longest(axes.flat, panels):
            pair, name = panel or ("", "")
            part = rows[(rows["pair"] == pair) & (rows["metric"] == name)]
            if part.empty:
                ax.set_axis_off()
                continue
            metric = words.metric_words(self.probe, name)
            style.grouped_points(ax, part, methods, metric)
            controls = tables.control(pair, self.probe, name)
            banded |= style.control_band(ax, part, controls, metric)
            if metric.level is not None:
                level = metric.scale * metric.level
                ax.axhline(level, color="#444444", lw=1, ls=":", zorder=1)
            self.decorate(ax, tables, pair, name)
            text = self._heading(tables, pair) if name == shown[0] else ""
            style.heading(ax, text, part)
            ax.set_xlabel(self.x)
        style.legend(fig, methods, rows, banded=banded)
        return fig

    def _heading(self, tables: Tables, pair: str) -> str:
        control = "control: " if tables.role(pair, self.probe) == "control" else ""
        return f"{control}{pair} ({tables.names(pair)})"
