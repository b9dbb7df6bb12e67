"""How similar are the features of teacher and student, layer by layer?"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from kdpipe.figures.base import Figure, figures
from kdpipe.results import words
from kdpipe.results.tables import Tables

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as Canvas

WIDTH = 9.6  # inches


@figures.register("cka")
class Cka(Figure):
    probes = ("cka",)
    reads_records = ("cka",)
    title = "Similarity of representations"
    caption = (
        "Linear centred kernel alignment (unbiased estimate) between each layer of the teacher "
        "and each layer of a student on the same images, averaged over seeds. 1 means equal up to "
        "rotation and scale, 0 means unrelated. The framed cell is the layer pair that the "
        "verdict is about."
    )

    def draw(self, tables: Tables) -> Canvas:
        from kdpipe.figures.shared import style

        rows = tables.of(self.probes)
        metric = "cka_unbiased" if "cka_unbiased" in set(rows["metric"]) else "cka_biased"
        rows = rows[rows["metric"] == metric]
        layers = rows["condition"].astype(str).map(words.condition_values)
        rows = rows.assign(
            t=layers.map(lambda c: c.get("teacher_layer", "")),
            s=layers.map(lambda c: c.get("student_layer", "")),
            domain=layers.map(lambda c: c.get("domain", "")),
        )
        methods = words.method_order(rows["method"])
        lines = list(dict.fromkeys(zip(rows["pair"], rows["domain"], strict=True)))
        cells = rows.groupby(["pair", "method"])[["s", "t"]].nunique().to_numpy().max()
        side = max(1.9, 0.9 + 0.36 * cells)
        # As many maps side by side as stay legible in a text column.
        columns = min(len(methods), max(1, int(WIDTH // side)))
        deep = -(-len(methods) // columns)
        fig, axes = style.grid(len(lines) * deep, columns, width=side, height=side)
        image: Any = None
        for i, (pair, domain) in enumerate(lines):
            primary = words.condition_values(self._primary(tables, pair))
            framed = primary if primary.get("domain", "") == domain else {}
            here = axes[i * deep : (i + 1) * deep].flat
            for j, (ax, method) in enumerate(itertools.zip_longest(here, methods)):
                part = rows[
                    (rows["pair"] == pair) & (rows["domain"] == domain) & (rows["method"] == method)
                ]
                if part.empty:
                    ax.set_axis_off()
                    continue
                image = self._heat_map(ax, part, self._in_order(tables, part), framed)
                seeds = part["seed"].nunique()
                count = f"{seeds} seed{'s' * (seeds > 1)}"
                ax.set_title(f"{words.method_words(method)}\n{count}", loc="left")
                ax.set_xlabel("Student layer")
                if j % columns == 0:
                    behind = tables.images_behind(pair, "cka")
                    images = " ".join(filter(None, [str(behind or ""), domain, "images"]))
                    ax.set_ylabel(f"{pair}, {images}\nTeacher layer")
        label = style.axis_label(words.metric_words("cka", metric))
        # As thick and as far from the maps in a high figure as in a low one.
        inch = 1 / fig.get_figheight()
        fig.colorbar(
            image, ax=axes, location="top", shrink=0.5, aspect=40, label=label, pad=0.15 * inch
        )
        return fig

    def _in_order(self, tables: Tables, rows: pd.DataFrame) -> tuple[list[str], list[str]]:
        """Layers of the teacher and of one student from input to output, as their records say."""
        pair, method, seed = rows[["pair", "method", "seed"]].iloc[0]
        notes: dict[str, Any] = {}
        for probed in tables.probed("cka"):
            if probed.pair.name == pair:
                own = tables.records(probed, method, seed)[1]["notes"]
                if set(rows["s"]) <= set(own["layers"]):  # of several instances, that of these rows
                    notes = own

        def in_order(column: str, recorded: str) -> list[str]:
            found = list(dict.fromkeys(rows[column]))
            return sorted(found, key=notes.get(recorded, found).index)

        return in_order("t", "teacher_layers"), in_order("s", "layers")

    def _heat_map(
        self,
        ax: Any,
        rows: pd.DataFrame,
        layers: tuple[list[str], list[str]],
        chosen: dict[str, str],
    ) -> Any:
        from matplotlib.patches import Rectangle

        teacher, student = layers
        mean = rows.groupby(["t", "s"])["value"].mean()
        values = [[mean.get((t, s), float("nan")) for s in student] for t in teacher]
        image = ax.imshow(values, vmin=0, vmax=1, cmap="Blues", aspect="auto")
        ax.grid(False)
        for y, line in enumerate(values):
            for x, value in enumerate(line):
                if value == value:  # a layer pair that was not measured stays blank
                    colour = "white" if value > 0.6 else "black"
                    ax.text(x, y, f"{value:.2f}", ha="center", va="center", color=colour, size=7.5)
        ax.set_xticks(range(len(student)), student, rotation=40, ha="right")
        ax.set_yticks(range(len(teacher)), teacher)
        t, s = chosen.get("teacher_layer"), chosen.get("student_layer")
        if t in teacher and s in student:
            corner = (student.index(s) - 0.5, teacher.index(t) - 0.5)
            frame = Rectangle(corner, 1, 1, fill=False, ec="#D55E00", lw=2.2, clip_on=False)
            ax.add_patch(frame)
        return image

    def _primary(self, tables: Tables, pair: str) -> str:
        chosen = tables.transfer.query("pair == @pair and probe == 'cka' and primary")
        return str(chosen["condition"].iloc[0]) if len(chosen) else ""
