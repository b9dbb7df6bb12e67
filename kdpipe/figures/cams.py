"""Where do teacher and students look in an image? Grad-CAM maps side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kdpipe.figures.base import Figure, figures
from kdpipe.figures.shared.pictures import bare, first_of, pictures, show
from kdpipe.probes.shared.conditions import condition
from kdpipe.results import words
from kdpipe.results.tables import Probed, Recorded, Tables

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

PROBE = "localization"
MAP = "inferno"
OPACITY = 0.6


@figures.register("cams")
class Cams(Figure):
    probes = (PROBE,)
    reads_records = (PROBE,)
    title = "Grad-CAM maps"
    caption = (
        "Grad-CAM of the true class on a few test images, drawn over the image, for the teacher "
        "and for the networks of the first seed; below each map is its cosine similarity to the "
        "teacher's. Above: how often a map of the method is closer to the teacher's than that of "
        "an independent student, over all test images, with the standard deviation over seeds "
        "where there are several. Independent students against each other show the range that "
        "means nothing."
    )

    def missing(self, tables: Tables) -> str | None:
        if reason := super().missing(tables):
            return reason
        if not _lines(tables):
            return "This study keeps no maps for pictures (the option pictured of localization)."
        return None

    def draw(self, tables: Tables) -> Canvas:
        from kdpipe.figures.shared import style

        lines = _lines(tables)
        columns = max(3 + len(probed.pair.methods) for probed, _ in lines)
        fig, axes = style.grid(len(lines), columns, width=1.35, height=1.62)
        before = None
        for row, (probed, where) in zip(axes, lines, strict=True):
            self._line(row, tables, probed, where, first=probed.pair.name != before)
            before = probed.pair.name
        self._scale(fig, axes)
        return fig

    def _line(self, row: Any, tables: Tables, probed: Probed, where: str, first: bool) -> None:
        pair = probed.pair
        methods = probed.students
        recorded = {m: first_of(tables, probed, m) for m in methods}
        shown = pictures(recorded[methods[0]])[where]
        known = words.condition_values(where)
        show(row[0], shown["image"])
        label = recorded[methods[0]][1]["notes"]["pictures"][where]["class"]
        named = f"{pair.name}\n" if len({p.pair.name for p in tables.probed(PROBE)}) > 1 else ""
        row[0].set_ylabel(f"{named}{known['domain']} image {known['image']}\nclass {label}", size=8)
        _overlay(row[1], shown["image"], shown["teacher_map"])
        row[1].set_xlabel("teacher's map", size=8)
        for ax, method in zip(row[2:], methods, strict=False):
            _overlay(ax, shown["image"], pictures(recorded[method])[where]["map"])
            ax.set_xlabel(_similarity(recorded[method], known), size=8)
        for ax in row[2 + len(methods) :]:
            ax.set_axis_off()
        if first:
            n = tables.images_behind(pair.name, PROBE)
            row[0].set_title(f"Image\n(of n = {n})" if n else "Image", size=8.5)
            row[1].set_title("Teacher", size=8.5)
            for ax, method in zip(row[2:], methods, strict=False):
                rate = _win_rate(tables, pair.name, method, known["domain"])
                ax.set_title(f"{words.method_words(method)}\n{rate}", size=8.5)

    def _scale(self, fig: Any, axes: Any) -> None:
        from matplotlib.cm import ScalarMappable
        from matplotlib.colors import Normalize

        label = "weight of a place in the answer (each map from 0 to its largest value, 1)"
        bar = fig.colorbar(
            ScalarMappable(Normalize(0, 1), MAP), ax=axes, location="top", shrink=0.45,
            aspect=40, label=label, alpha=OPACITY,
        )  # fmt: skip
        bar.set_ticks([0, 0.5, 1])


def _lines(tables: Tables) -> list[tuple[Probed, str]]:
    """The pictured images of every pair, each with its condition."""
    found = []
    for probed in tables.probed(PROBE):
        one = first_of(tables, probed, probed.pair.first_method)
        found += [(probed, where) for where in pictures(one)]
    return found


def _overlay(ax: Any, image: Any, heat: Any) -> None:
    h, w = image.shape[:2]
    show(ax, image.mean(2))
    if heat.any():
        ax.imshow(
            heat, cmap=MAP, vmin=0, vmax=1, alpha=OPACITY, interpolation="bilinear",
            extent=(-0.5, w - 0.5, h - 0.5, -0.5),
        )  # fmt: skip
    bare(ax)


def _similarity(recorded: Recorded, known: dict[str, str]) -> str:
    rows, _ = recorded
    where = rows["condition"] == condition(domain=known["domain"])
    one = (rows["metric"] == "cam_similarity") & (rows["unit_id"] == int(known["image"]))
    value = float(rows.loc[where & one, "value"].iloc[0])
    return f"cosine {value:.2f}" if value == value else "a map is all zero"


def _win_rate(tables: Tables, pair: str, method: str, domain: str) -> str:
    """Mean and spread of the win rate; for independents, how far any two are apart."""
    metric, where = "cam_win_rate", condition(domain=domain)
    rows = tables.of((PROBE,))
    rows = rows[
        (rows["pair"] == pair)
        & (rows["method"] == method)
        & (rows["condition"] == where)
        & (rows["metric"] == metric)
    ]
    if rows.empty:
        return ""
    mean, spread = 100 * rows["value"].mean(), 100 * rows["value"].std()
    if method == "ind":
        control = tables.control(pair, PROBE, metric).query("condition == @where")["control_high"]
        reach = control.dropna()
        around = f" ± {100 * reach.iloc[0]:.0f}" if len(reach) else ""
        return f"{mean:.0f}{around}{words.PERCENT} (range)"
    around = f" ± {spread:.0f}" if spread == spread else ""
    return f"wins {mean:.0f}{around}{words.PERCENT}"
