"""How many points does a linear student need to become its teacher?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kdpipe.figures.base import Figure, figures
from kdpipe.figures.shared.square import PROBE, draw_square, pairs_in_a_square
from kdpipe.results import words
from kdpipe.results.tables import Tables

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as Canvas

METRICS = ("weight_error", "weight_cosine")


@figures.register("why")
class Why(Figure):
    probes = ("weights",)
    reads_records = (PROBE,)
    title = "Recovery of a linear teacher"
    caption = (
        "Linear students of one linear teacher, by the number of their training images: distance "
        "of their weights from the teacher's, relative to the teacher's (left, logarithmic), and "
        "cosine between the two (right), both centred over classes, because a softmax does not see "
        "what all classes share. From as many images as a class has unknowns (dashed) the "
        "teacher's logits leave a student no choice; labels do. All seeds see the same images, so "
        "the spread is that of training alone. Below, where a pair's images are points of a "
        "square: the classes that teacher and students of the first seed give to it, put together "
        "from the planes of the property decision boundary. Dashed: where the students' training "
        "images lie. White: no plane came near."
    )

    def missing(self, tables: Tables) -> str | None:
        reason = super().missing(tables)
        if reason is None and _points(tables).empty:
            return "It is not known on how many images these linear networks were trained."
        return reason

    def draw(self, tables: Tables) -> Canvas:
        from kdpipe.figures.shared import style

        squares = pairs_in_a_square(tables)
        teachers = _points(tables)["teacher"].nunique()
        heights = [0.5 + 2.8 * teachers, 0.3 + 1.9 * len(squares)]
        fig = style.Canvas(figsize=(7.6, sum(heights[: 2 if squares else 1])), layout="constrained")
        if not squares:
            self._recovery(fig, tables)
            return fig
        parts: Any = fig.subfigures(2, 1, height_ratios=heights, hspace=0.04)
        top, bottom = parts
        self._recovery(top, tables)
        most = 2 + max(len(probed.pair.methods) for probed in squares)
        grid = bottom.subplots(len(squares), most, squeeze=False)
        for line, probed in zip(grid, squares, strict=True):
            used = draw_square(line, tables, probed)
            line[0].set_ylabel(probed.pair.name, fontweight="bold")
            for ax in line[used:]:
                ax.set_axis_off()
        return fig

    def _recovery(self, fig: Any, tables: Tables) -> None:
        from kdpipe.figures.shared import style

        rows = _points(tables)
        methods = words.method_order(rows["method"])
        teachers = list(dict.fromkeys(rows["teacher"]))
        shown = [m for m in METRICS if m in set(rows["metric"])]
        axes = fig.subplots(len(teachers), len(shown), squeeze=False)
        for line, teacher in zip(axes, teachers, strict=True):
            of_teacher = rows[rows["teacher"] == teacher]
            for ax, metric in zip(line, shown, strict=True):
                part = of_teacher[of_teacher["metric"] == metric]
                for k, method in enumerate(methods):
                    aside = 1.03 ** (k - (len(methods) - 1) / 2)
                    self._line(ax, part[part["method"] == method], method, aside)
                self._decorate(ax, part, _unknowns(tables, teacher), named=ax is line[0])
                ax.set_ylabel(style.axis_label(words.metric_words("weights", metric)))
                if metric == "weight_error" and (part["value"] > 0).any():
                    ax.set_yscale("log")
            line[0].set_title(f"students of {teacher}", loc="left", fontweight="bold")
        seeds = rows.groupby(["pair", "method"])["seed"].nunique()
        count = f"{seeds.min()}" if seeds.min() == seeds.max() else f"{seeds.min()}–{seeds.max()}"
        note = f"line: median of {count} seeds, bar: lowest to highest, dots: seeds"
        entries = [
            (words.method_words(m), {"color": style.look(m)[0], "marker": style.look(m)[1]})
            for m in methods
        ]
        style.key(fig, entries, note)

    def _line(self, ax: Any, rows: pd.DataFrame, method: str, aside: float) -> None:
        from kdpipe.figures.shared import style

        colour, marker = style.look(method)
        by = rows.groupby("points")["value"].agg(["median", "min", "max"])
        x, low, high = by.index * aside, by["median"] - by["min"], by["max"] - by["median"]
        ax.errorbar(
            x, by["median"], [low, high], fmt=f"{marker}-", ms=5, lw=1.2, color=colour,
            elinewidth=1.3, capsize=0, zorder=3,
        )  # fmt: skip
        ax.scatter(
            rows["points"] * aside, rows["value"], s=6, color=colour, alpha=0.55, linewidths=0
        )

    def _decorate(self, ax: Any, rows: pd.DataFrame, unknowns: float | None, named: bool) -> None:
        ax.set_xscale("log")
        ticks = sorted(rows["points"].unique())
        ax.set_xticks(ticks, [f"{t:g}" for t in ticks])
        ax.minorticks_off()
        ax.set_xlabel("Training images")
        if unknowns is not None:
            ax.axvline(unknowns, color="#444444", ls="--", lw=1, zorder=1)
        if unknowns is not None and named:
            ax.annotate(
                f"{unknowns:g} unknowns\na class", (unknowns, 0.7), (4, 0),
                xycoords=("data", "axes fraction"), textcoords="offset points",
                color="#444444", fontsize=8, va="center",
            )  # fmt: skip


def _points(tables: Tables) -> pd.DataFrame:
    """Measurements of the students whose number of training images, ``points``, is known."""
    rows = tables.of(Why.probes)
    rows = rows[rows["metric"].isin(METRICS) & (rows["condition"] == "logits=centred")]
    rows = rows[~rows["method"].isin(["teacher", "teacher2"])]
    known = tables.training_images
    paths = [tables.path(r["pair"], r["method"], r["seed"]) for r in rows.to_dict("records")]
    points = [known.get(path or "", float("nan")) for path in paths]
    return rows.assign(points=points).dropna(subset=["points"])


def _unknowns(tables: Tables, teacher: str) -> float | None:
    rows = tables.measurements
    found = rows.loc[(rows["metric"] == "unknowns") & (rows["teacher"] == teacher), "value"]
    return float(found.iloc[0]) if found.nunique() == 1 else None
