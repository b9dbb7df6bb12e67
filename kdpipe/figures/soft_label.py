"""Is it the teacher that a student learns from, or only that its labels are soft?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdpipe.figures.base import Figure, figures
from kdpipe.results import verdicts, words
from kdpipe.results.tables import Tables

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as Canvas

MOST = 6  # conditions; a property with more is shown where its verdict is


@figures.register("soft_label")
class SoftLabel(Figure):
    needs = ("answer_methods",)
    title = "Soft labels without a teacher"
    caption = (
        "The main statistic of every property for methods that see the teacher's answers alone, "
        "and for the control that is trained on softened, noisy labels and sees no teacher. What "
        "that control reaches as well does not come from the teacher."
    )

    def missing(self, tables: Tables) -> str | None:
        if not _panels(tables):
            return "No pair of this study has a method without a teacher to compare with."
        return None

    def draw(self, tables: Tables) -> Canvas:
        from kdpipe.figures.shared import style

        panels = _panels(tables)
        columns = min(3, len(panels))
        fig, axes = style.grid(-(-len(panels) // columns), columns, height=2.3)
        shown = [rows for _, rows in panels]
        methods = words.method_order(m for rows in shown for m in rows["method"])
        for ax, (probe, rows) in zip(axes.flat, panels, strict=False):
            name = str(rows["metric"].iloc[0])
            metric = words.metric_words(probe, name)
            pair = str(rows["pair"].iloc[0])
            style.grouped_points(ax, rows, methods, metric)
            style.control_band(ax, rows, tables.control(pair, probe, name), metric)
            several = f" ({pair})" if len(tables.answer_methods) > 1 else ""
            style.heading(
                ax,
                words.property_words(probe).label + several,
                rows,
            )
        for ax in axes.flat[len(panels) :]:
            ax.set_axis_off()
        import pandas as pd

        style.legend(fig, methods, pd.concat(shown), banded=True)
        return fig


def _panels(tables: Tables) -> list[tuple[str, pd.DataFrame]]:
    """(property, rows of its main statistic) of every pair that has such a control."""
    claims = verdicts.primary_claims(tables.transfer)
    found = []
    for (pair, probe), part in claims.groupby(["pair", "probe"], sort=False):
        methods = tables.answer_methods.get(str(pair), [])
        if not methods:
            continue
        main = part.iloc[0]
        m = tables.measurements
        rows = m[(m["pair"] == pair) & (m["probe"] == probe) & (m["metric"] == main["metric"])]
        if rows["condition"].nunique() > MOST:
            rows = rows[rows["condition"] == main["condition"]]
        found.append(
            (str(probe), rows[rows["method"].isin(["teacher", "teacher2", "ind", *methods])])
        )
    return found
