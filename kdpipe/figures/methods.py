"""Which method hands on what: methods down, properties across."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

from kdpipe.figures.base import Figure, figures
from kdpipe.results import verdicts, words
from kdpipe.results.tables import Tables

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as Canvas

MANY = 6
"""Methods of one pair from which on this map is easier to read than one row a property."""
# In inches: cells keep their size whatever the number of rows.
_LABEL, _WIDE, _ROW, _HEAD, _FOOT = 1.5, 0.92, 0.27, 0.95, 0.75


@figures.register("methods")
class Methods(Figure):
    needs = ("many_methods",)
    title = "Which method hands on what"
    caption = (
        "One row for each method and one column for each property, sorted by how much a method "
        "hands on. A cell is the share of the gap between independent students and the target that "
        "the method closed. Bold and framed: decided (solid: transferred, dashed: moved away from "
        "the target, dotted: shown to close less than a tenth). Pale: these seeds and images "
        "cannot tell. The target is the teacher's own value, or full agreement with the teacher."
    )

    def missing(self, tables: Tables) -> str | None:
        if maps(tables).empty:
            return "No property has a gap that methods could close."
        return None

    def draw(self, tables: Tables) -> Canvas:
        from kdpipe.figures.shared import style

        claims = maps(tables)
        pairs = list(claims.groupby("pair", sort=False))
        across = max(part["probe"].nunique() for _, part in pairs)
        down = sum(part["method"].nunique() for _, part in pairs)
        width = max(_LABEL + _WIDE * across + 0.15, 6.6)
        height = _HEAD * len(pairs) + _ROW * down + _FOOT
        fig = style.Canvas(figsize=(width, height))
        ax = fig.add_axes((0, 0, 1, 1))
        ax.set(xlim=(0, width), ylim=(height, 0))
        ax.set_axis_off()
        y = 0.0
        for name, part in pairs:
            y = _map(ax, y, part, f"{name}: {tables.names(str(name))}")
        _scale(ax, y + 0.2)
        return fig


def maps(tables: Tables) -> pd.DataFrame:
    """Primary claims with a gap, of the pairs with many methods, best methods first."""
    claims = verdicts.found(tables.counted(), tables.controls)
    claims = claims[claims["gap_closed"].notna() & claims["verdict"].notna()]
    return claims[claims.groupby("pair")["method"].transform("nunique") >= MANY]


def in_order(part: pd.DataFrame) -> list[str]:
    """Methods by how many properties they hand on, then by the middle of what they close."""
    by = part.assign(
        handed=(part["finding"] == "transferred").astype(float)
        - (part["finding"] == "opposite").astype(float)
    ).groupby("method")
    rank = by["handed"].sum().to_frame().assign(closed=by["gap_closed"].median())
    return list(rank.sort_values(["handed", "closed"], ascending=False, kind="stable").index)


def _map(ax: Any, y: float, part: pd.DataFrame, title: str) -> float:
    """Draw the map of one pair from ``y`` on; where the next one begins."""
    probes = words.property_order(part["probe"])
    ax.text(0.1, y + 0.2, title, weight="bold", size=9)
    for k, probe in enumerate(probes):
        label = "\n".join(textwrap.wrap(words.property_words(probe).label, 14))
        ax.text(
            _LABEL + (k + 0.5) * _WIDE, y + _HEAD - 0.08, label, ha="center", va="bottom", size=8
        )
    y += _HEAD
    for method in in_order(part):
        ax.text(_LABEL - 0.1, y + _ROW / 2, words.method_words(method), ha="right", va="center")
        mine = part[part["method"] == method].drop_duplicates("probe").set_index("probe")
        for k, probe in enumerate(probes):
            if probe in mine.index:
                _cell(ax, _LABEL + k * _WIDE, y, mine.loc[probe])
        y += _ROW
    return y


_FRAMES = {"transferred": "-", "opposite": "--", "not transferred": ":"}


def _cell(ax: Any, x: float, y: float, row: Any) -> None:
    from matplotlib.patches import Rectangle

    from kdpipe.figures.shared.cells import blended, ink, shade

    decided = row["finding"] in _FRAMES
    face = blended(shade(row["gap_closed"]), 1 if decided else 0.4)
    box = (x + 0.02, y + 0.02), _WIDE - 0.04, _ROW - 0.04
    ax.add_patch(Rectangle(*box, fc=face, ec="none"))
    colour = ink(face) if decided else "#3d3d3d"
    if decided:
        ax.add_patch(Rectangle(*box, fill=False, ec=colour, ls=_FRAMES[row["finding"]], lw=1.2))
    weight = "bold" if decided else "normal"
    ax.text(
        x + _WIDE / 2, y + _ROW / 2, words.share(row["gap_closed"]), color=colour, weight=weight,
        ha="center", va="center", size=8.5,
    )  # fmt: skip


def _scale(ax: Any, y: float) -> None:
    from matplotlib import colormaps

    ramp = [[0.5 + 0.4 * (i / 50 - 1) for i in range(101)]]
    ends = (0.13, 2.13, y + 0.14, y)
    ax.imshow(ramp, cmap=colormaps["RdBu"], vmin=0, vmax=1, aspect="auto", extent=ends)
    ax.text(2.2, y + 0.07, "−100 % … 0 % … 100 % of the gap closed", va="center", size=7.5)
    frames = "transferred (solid), moved away (dashed), not transferred (dotted)"
    note = f"Framed: {frames}. Pale: undecided."
    ax.text(0.13, y + 0.34, note, va="center", size=7.5, color="#444444")
