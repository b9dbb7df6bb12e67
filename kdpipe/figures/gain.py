"""Is knowledge transferred where accuracy is not?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kdpipe.figures.base import Figure, figures
from kdpipe.results import verdicts, words
from kdpipe.results.tables import Tables

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as Canvas

COLUMNS = 4
REACH = 150.0
"""Largest share of a gap on the y axis, in percent, either way."""


@figures.register("gain")
class Gain(Figure):
    title = "Accuracy gained, and gap closed"
    caption = (
        "Each mark is one method in one pair: how much more accurate its students are than "
        "independent ones after the last epoch, on validation images of the student's own domains "
        "(mean difference, bar: ± 1 standard error over the seeds of both sides), and how much of "
        "the property's gap they closed (bar: 95 % interval). Filled: transferred. A filled mark "
        "at or left of the dotted line is knowledge that came without accuracy. Marks beyond "
        f"±{REACH:.0f} % stand at the edge."
    )

    def missing(self, tables: Tables) -> str | None:
        if _points(tables).empty:
            return "No property has a gap to close beside students whose training is recorded."
        return None

    def draw(self, tables: Tables) -> Canvas:
        from kdpipe.figures.shared import style

        points = _points(tables)
        probes = words.property_order(points["probe"])
        columns = min(COLUMNS, len(probes))
        rows = -(-len(probes) // columns)
        fig, axes = style.grid(rows, columns, width=2.4, height=2.1)
        reach = 1.15 * float((points["gain"].abs() + points["error"].fillna(0)).max()) or 1.0
        for k, (ax, probe) in enumerate(zip(axes.flat, probes, strict=False)):
            part = points[points["probe"] == probe]
            self._panel(ax, part, reach)
            label = words.property_words(probe).label
            ax.set_title(f"{label}\n", loc="left", fontweight="bold", fontsize=8.5)
            ax.set_title(_counts(part), loc="right", fontsize=8, color="#666666")
            if k % columns == 0:
                ax.set_ylabel("Gap closed (%)")
            if k + columns >= len(probes):
                ax.set_xlabel("Accuracy gained (pp)")
        for ax in axes.flat[len(probes) :]:
            ax.set_axis_off()
        entries: list[tuple[str, dict[str, Any]]] = [
            (words.method_words(m), {"color": style.look(m)[0], "marker": style.look(m)[1],
                                     "ls": ""})
            for m in words.method_order(points["method"])
        ]  # fmt: skip
        mark = {"color": "#444444", "marker": "o", "ls": ""}
        entries += [("transferred", mark), ("not, or undecided", {**mark, "mfc": "white"})]
        style.key(fig, entries)
        return fig

    def _panel(self, ax: Any, points: pd.DataFrame, reach: float) -> None:
        from kdpipe.figures.shared import style

        for row in points.to_dict("records"):
            colour, marker = style.look(row["method"])
            y, low, high = (
                max(-REACH, min(REACH, 100 * row[c]))
                for c in ("gap_closed", "closed_low", "closed_high")
            )
            ax.errorbar(
                row["gain"], y, yerr=[[max(0, y - low)], [max(0, high - y)]],
                xerr=row["error"] if row["error"] == row["error"] else None,
                fmt=marker, ms=6, color=colour, mfc=colour if row["transferred"] else "white",
                elinewidth=1.1,
            )  # fmt: skip
        ax.axhline(0, color="#bbbbbb", lw=0.8, zorder=1)
        ax.axvline(0, color="#444444", lw=1, ls=":", zorder=1)
        ax.set_xlim(-reach, reach)
        ax.set_ylim(-1.1 * REACH, 1.1 * REACH)
        ax.set_yticks([-100, 0, 100])


def _counts(points: pd.DataFrame) -> str:
    first = points.iloc[0]
    low, high = points["n_units"].min(), points["n_units"].max()
    if low < high:
        return f"n = {low:.0f}–{high:.0f} {first['unit']}"
    return words.units(low, first["unit"])


def _points(tables: Tables) -> pd.DataFrame:
    """Primary claims with a gap, with the gain in accuracy (percentage points) beside them."""
    claims = verdicts.found(tables.counted(), tables.controls)
    known = claims["gap_closed"].notna() & claims["verdict"].notna()
    claims = claims[(claims["probe"] != "accuracy") & known]
    gains = [_gain(tables, str(r.pair), str(r.method)) for r in claims.itertuples()]
    claims = claims.assign(
        gain=[g for g, _ in gains],
        error=[e for _, e in gains],
        transferred=claims["finding"] == "transferred",
    )
    return claims[claims["gain"].notna()]


def _gain(tables: Tables, pair: str, method: str) -> tuple[float, float]:
    """Mean difference of last validation accuracies in percentage points, and its error."""
    import numpy as np

    m = tables.measurements[tables.measurements["pair"] == pair]

    def last(side: str) -> Any:
        seeds = m.loc[m["method"] == side, "seed"].unique()
        paths = [tables.path(pair, side, int(seed)) or "" for seed in seeds]
        known = [tables.histories[path] for path in paths if path in tables.histories]
        return np.array([100 * h["val_accuracy"].iloc[-1] for h in known if "val_accuracy" in h])

    ind, dist = last("ind"), last(method)
    if not len(ind) or not len(dist):
        return float("nan"), float("nan")
    several = len(ind) > 1 and len(dist) > 1
    error = np.sqrt(ind.var(ddof=1) / len(ind) + dist.var(ddof=1) / len(dist)) if several else None
    return float(dist.mean() - ind.mean()), float("nan") if error is None else float(error)
