"""The answer to a study's question in one picture: networks down, what was measured across."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

from kdpipe.figures.base import Figure, figures
from kdpipe.probes.shared.conditions import condition_values
from kdpipe.results import words
from kdpipe.results.settings import Answer, AnswerPanel
from kdpipe.results.tables import Tables

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as Canvas

# In inches.
_LABEL, _WIDE, _ROW, _AROUND = 1.9, 2.9, 0.36, 1.0
_LETTERS = 26
"""Of a row's label in one line."""


@figures.register("answer")
class AnswerFigure(Figure):
    needs = ("answer",)
    title = "The answer in one picture"
    caption = (
        "Networks from top to bottom. Mark: mean over seeds, with its value; dots: seeds. Grey: "
        "independent students."
    )

    def missing(self, tables: Tables) -> str | None:
        if tables.answer is None or all(
            shown(tables, tables.answer.probe, panel, pair, method).empty
            for panel in tables.answer.show
            for _, pair, method in tables.answer.places()
        ):
            return "Nothing was measured on the networks that the answer names."
        return None

    def draw(self, tables: Tables) -> Canvas:
        from kdpipe.figures.shared import style

        answer = tables.answer
        assert answer is not None
        count = len(answer.show)
        size = (_LABEL + _WIDE * count, _ROW * len(answer.rows) + _AROUND)
        fig = style.Canvas(figsize=size, layout="constrained")
        axes = fig.subplots(1, count, squeeze=False, sharey=True)[0]
        for ax, panel in zip(axes, answer.show, strict=True):
            _panel(ax, tables, answer, panel)
        labels = ["\n".join(textwrap.wrap(label, _LETTERS)) for label in answer.rows]
        axes[0].set_yticks(range(len(labels)), labels)
        axes[0].set_ylim(len(labels) - 0.5, -0.5)
        return fig


def shown(tables: Tables, probe: str, panel: AnswerPanel, pair: str, method: str) -> pd.DataFrame:
    """The measurements behind one mark: a row for each seed."""
    claims = tables.transfer
    primary = claims[(claims["pair"] == pair) & (claims["probe"] == probe) & claims["primary"]]
    m = tables.measurements
    rows = m[(m["pair"] == pair) & (m["probe"] == probe) & (m["method"] == method)]
    if not len(primary):
        return rows[:0]
    main = primary.iloc[0]
    rows = rows[rows["metric"] == (panel.metric or main["metric"])]
    wanted = panel.condition or condition_values(str(main["condition"]))
    fits = [wanted.items() <= condition_values(str(c)).items() for c in rows["condition"]]
    return rows[fits]


def _panel(ax: Any, tables: Tables, answer: Answer, panel: AnswerPanel) -> None:
    from kdpipe.figures.shared import style

    found: list[str] = []
    for y, (_, pair, method) in enumerate(answer.places()):
        rows = shown(tables, answer.probe, panel, pair, method)
        if rows.empty:
            continue
        found.append(str(rows["metric"].iloc[0]))
        metric = words.metric_words(answer.probe, found[-1])
        values = metric.scale * rows["value"]
        colour, marker = style.look(method)
        if len(values) > 1:
            ax.scatter(
                values, [y] * len(values), s=14, color=colour, alpha=0.35, linewidths=0, zorder=2
            )
        ax.plot([values.mean()], [y], marker, color=colour, ms=7, zorder=3)
        ax.annotate(
            words.number(rows["value"].mean(), metric), (values.mean(), y), xytext=(0, 7),
            textcoords="offset points", ha="center", va="bottom", size=8, color="#333333",
        )  # fmt: skip
    if not found:
        ax.set_axis_off()
        return
    metric = words.metric_words(answer.probe, found[0])
    if metric.unit == "%":
        ax.set_xlim(-8, 108)
    else:
        ax.margins(x=0.15)
    ax.grid(axis="y", visible=False)
    ax.grid(axis="x", visible=True)
    if metric.level is not None:
        ax.axvline(metric.scale * metric.level, color="#444444", lw=1, ls=":", zorder=1)
    ax.set_title(textwrap.fill(panel.says, 36), loc="left", fontweight="bold", fontsize=9)
    ax.set_xlabel(f"{metric.label} ({metric.unit})" if metric.unit else metric.label)
