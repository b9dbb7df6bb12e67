"""Does a student inherit the teacher's weakness on a group?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kdpipe.figures.base import Figure, figures
from kdpipe.results import words
from kdpipe.results.tables import Tables

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as Canvas


@figures.register("group_accuracy")
class GroupAccuracy(Figure):
    probes = ("group_accuracy",)
    title = "Accuracy by group"
    caption = (
        "Left: share of right answers within each group of test images. Middle: what distillation "
        "adds over independent students, in percentage points with its 95 % confidence interval. "
        "A gain that is smaller, or a loss, on the group where the teacher is weak is the "
        "teacher's bias passed on. Right: the distance from the best to the worst group, and the "
        "accuracy in the worst."
    )

    def draw(self, tables: Tables) -> Canvas:
        from kdpipe.figures.shared import style

        rows = tables.of(self.probes)
        unequal = rows[rows["metric"].isin(["accuracy_gap", "worst_group_accuracy"])]
        rows = rows[rows["metric"] == "accuracy"]
        pairs = list(dict.fromkeys(rows["pair"]))
        methods = words.method_order(rows["method"])
        fig, axes = style.grid(len(pairs), 3, width=3.6)
        for (left, right, last), pair in zip(axes, pairs, strict=True):
            part = rows[rows["pair"] == pair]
            accuracy = words.metric_words("group_accuracy", "accuracy")
            style.grouped_points(left, part, methods, accuracy)
            style.heading(left, f"{pair} ({tables.names(pair)})", part)
            left.set_xlabel("Group")
            gains = tables.transfer.query(
                "pair == @pair and probe == 'group_accuracy' and metric == 'accuracy'"
            )
            self._gains(right, gains, part, methods)
            right.set_xticks(left.get_xticks(), [t.get_text() for t in left.get_xticklabels()])
            right.set_xlim(left.get_xlim())
            self._unequal(last, unequal[unequal["pair"] == pair], methods)
        style.legend(fig, methods, rows)
        return fig

    def _unequal(self, ax: Any, rows: pd.DataFrame, methods: list[str]) -> None:
        """Gap and worst group beside each other: both are accuracies in percent."""
        from kdpipe.figures.shared import style

        if rows.empty:
            ax.set_axis_off()
            return
        called = {"accuracy_gap": "best minus worst", "worst_group_accuracy": "worst group"}
        named = rows.assign(condition="which=" + rows["metric"].map(called))
        style.grouped_points(ax, named, methods, words.FRACTION)
        ax.set_title(
            words.units(rows["n"].max(), "images"), loc="right", fontsize=8, color="#666666"
        )
        ax.set_ylabel("Accuracy, or its difference (%)")

    def _gains(self, ax: Any, gains: pd.DataFrame, rows: pd.DataFrame, methods: list[str]) -> None:
        from kdpipe.figures.shared import style

        at, _ = style.positions(rows["condition"])
        shown = [m for m in methods if m in set(gains["method"])]
        for k, method in enumerate(shown):
            gain = gains[gains["method"] == method]
            colour, marker = style.look(method)
            x = gain["condition"].map(at).astype(float) + style.dodge(at, k, len(shown))
            spread = [gain["diff"] - gain["diff_low"], gain["diff_high"] - gain["diff"]]
            ax.errorbar(
                x, 100 * gain["diff"], [100 * s for s in spread],
                fmt=marker, ms=5, color=colour, elinewidth=1.3,
            )  # fmt: skip
        ax.axhline(0, color="#444444", lw=1, ls=":", zorder=1)
        ax.set_xlabel("Group")
        ax.set_ylabel("Gain over independent (pp)")
        low, high = gains["n_units"].min(), gains["n_units"].max()
        units = f"n = {low:.0f}–{high:.0f} images, " if len(gains) else ""
        note = f"{units}bar: 95{words.PERCENT} interval"
        ax.set_title(note, loc="right", fontsize=8, color="#666666")
