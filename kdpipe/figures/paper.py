"""What was measured here beside what the paper published."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kdpipe.figures.base import Figure, figures
from kdpipe.results import words
from kdpipe.results.paper import repeated
from kdpipe.results.tables import Tables

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as Canvas


@figures.register("paper")
class Paper(Figure):
    needs = ("paper",)
    title = "Beside the published values"
    caption = (
        "Hollow: the value in the paper; filled: measured here; bars: ± 1 standard deviation over "
        "seeds where it is known. ≈ marks values read off a plot. On the right, whether the "
        "difference to independent students has the same direction in both; undecided where the "
        "published difference lies within its own spread or the interval of the measured one "
        "contains 0."
    )

    def missing(self, tables: Tables) -> str | None:
        if tables.paper.empty:
            return "No cell of the paper is mapped to this study, so there is nothing to compare."
        return None

    def draw(self, tables: Tables) -> Canvas:
        from kdpipe.figures.shared import style

        places = repeated()
        blocks: list[tuple[Any, pd.DataFrame]] = [
            (key, part.sort_values(["condition", "method"], key=_order, kind="stable"))
            for key, part in tables.paper.groupby(["table", "pair", "metric"], sort=False)
        ]
        heights = [len(part) + 1.5 for _, part in blocks]
        fig = style.Canvas(figsize=(7.2, 0.8 + 0.24 * sum(heights)), layout="constrained")
        axes = fig.subplots(len(blocks), 1, squeeze=False, height_ratios=heights)[:, 0]
        for ax, ((table, pair, cell), part) in zip(axes, blocks, strict=True):
            # The paper's name may be that of another measure here.
            metric = words.metric_words(*places.get(cell, [("", cell)])[0])
            factor = metric.scale
            for y, row in enumerate(part.to_dict("records")):
                colour, marker = style.look(row["method"])
                both = [factor * row["paper_value"], factor * row["measured_mean"]]
                ax.plot(both, [y, y], color=colour, lw=0.8, alpha=0.5, zorder=1)
                for x, std, fill in zip(
                    both, (row["paper_std"], row["measured_std"]), ("white", colour), strict=True
                ):
                    ax.errorbar(
                        x, y, xerr=factor * std if std == std else None,
                        fmt=marker, ms=6, color=colour, mfc=fill, elinewidth=1.3,
                    )  # fmt: skip
                verdict = row["same_direction"] if row["method"] != "ind" else ""
                ax.annotate(
                    f"{'≈  ' if row['approximate'] else ''}{verdict}", (1.01, y),
                    xycoords=("axes fraction", "data"), va="center", fontsize=8,
                )  # fmt: skip
            labels = [
                f"{words.condition_words(r['condition'])} · {words.method_words(r['method'])}"
                for r in part.to_dict("records")
            ]
            ax.set_yticks(range(len(part)), labels)
            ax.set_ylim(len(part) - 0.4, -0.6)
            ax.grid(False, axis="y")
            ax.grid(True, axis="x")
            where = f"Table {table}" if table[:1].isdigit() else table[:1].upper() + table[1:]
            ax.set_title(f"{where}: {pair}".replace(">", " → "), loc="left", fontweight="bold")
            ax.set_title("same direction?", loc="right", fontsize=8, color="#666666")
            ax.set_xlabel(style.axis_label(metric))
        mark = {"color": "#444444", "marker": "o", "ls": ""}
        style.key(fig, [("published", {**mark, "mfc": "white"}), ("measured here", mark)])
        return fig


def _order(column: pd.Series) -> pd.Series:
    """Methods in the order of every other figure, conditions by name."""
    if column.name != "method":
        return column
    rank = {m: i for i, m in enumerate(words.method_order(column))}
    return column.map(rank)
