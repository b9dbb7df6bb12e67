"""What was distilled: properties down, methods across, coloured by how much of the gap closed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kdpipe.figures.base import Figure, figures
from kdpipe.results import reasons, verdicts, words
from kdpipe.results.tables import Tables

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

# Everything is placed in inches: cells keep their size whatever the number of rows.
_LABEL, _CELL, _VALUES, _ROW, _HEAD = 3.55, 1.02, 2.15, 0.46, 0.34
_GREY = "#e6e6e6"


@figures.register("transfer")
class Transfer(Figure):
    title = "What was distilled"
    caption = (
        "Each cell is one property and one method. Its number is the share of the gap between "
        "independent students and the target that distillation closed: 100 % is what perfect "
        "inheritance would give, 0 % is what a student has without a teacher. Below it is the "
        "95 % interval. The target is the teacher's own value where the property belongs to a "
        "network by itself, and 1 (or 100 %) where a student is compared with its teacher."
    )

    def missing(self, tables: Tables) -> str | None:
        if verdicts.primary_claims(tables.transfer).empty:
            return "No property was compared between distilled and independent students."
        return None

    def draw(self, tables: Tables) -> Canvas:
        from kdpipe.figures.shared import style

        transfer = tables.counted()
        claims = verdicts.primary_claims(transfer)
        relational = claims.apply(verdicts.is_relational, axis=1)
        blocks = [
            (words.KINDS[False], claims[~relational]),
            (words.KINDS[True], claims[relational]),
            (
                "Controls: what shows up here does not come from the teacher's property",
                verdicts.controls_of(transfer),
            ),
        ]
        rows = [(name, list(part.groupby(verdicts.KEY, sort=False))) for name, part in blocks]
        rows = [(name, lines) for name, lines in rows if lines]
        methods = words.method_order(claims["method"])
        without = claims.loc[claims["verdict"].isna(), "reason"]
        # The legend has a further sample where a claim has no verdict.
        width = max(_LABEL + _CELL * len(methods) + _VALUES, 10.6 if len(without) else 9.3)
        absent = _left_out(tables)
        height = 0.4 + sum(_HEAD + _ROW * len(lines) for _, lines in rows) + 1.6
        height += (_HEAD + 0.22 * len(absent)) if absent else 0
        fig = style.Canvas(figsize=(width, height))
        ax = fig.add_axes((0, 0, 1, 1))
        ax.set(xlim=(0, width), ylim=(height, 0))
        ax.set_axis_off()
        for k, method in enumerate(methods):
            x = _LABEL + (k + 0.5) * _CELL
            ax.text(x, 0.26, words.method_words(method), ha="center", weight="bold")
            if method in tables.without_teacher:
                ax.text(x, 0.4, "control: no teacher", ha="center", size=6.5, color="#444444")
        x = _LABEL + len(methods) * _CELL + 0.12
        head = "independent → target"
        if claims["ceiling"].notna().any():
            head += " (2nd teacher)"
        if "floor" in claims and claims["floor"].notna().any():
            head += " [untrained]"
        ax.text(x, 0.28, head, color="#444444", size=7.5)
        y = 0.42
        for name, lines in rows:
            ax.text(0.1, y + 0.24, name, style="italic", color="#444444")
            y += _HEAD
            for _, part in lines:
                self._row(ax, y, part, tables, methods)
                y += _ROW
        if absent:
            ax.text(0.1, y + 0.24, "Not measured", style="italic", color="#444444")
            y += _HEAD
        for text in absent:
            ax.text(0.1, y + 0.1, text, va="center", size=min(8.5, 8.5 * 130 / len(text)))
            y += 0.22
        _legend(ax, y + 0.25, width, str(without.iloc[0]) if len(without) else "")
        return fig

    def _row(self, ax: Any, y: float, part: Any, tables: Tables, methods: list[str]) -> None:
        first = part.iloc[0]
        what = words.property_words(first["probe"])
        detail = words.condition_words(first["condition"])
        ax.text(0.1, y + 0.19, what.label, weight="bold", va="center")
        ax.text(
            _LABEL - 0.1, y + 0.19, detail if len(detail) < 26 else "", va="center", ha="right",
            size=8, color="#444444",
        )  # fmt: skip
        where = f"{what.compared} · {first['pair']}: {tables.names(first['pair'])}"
        size = min(7.0, 7.0 * 63 / len(where))  # a long name gets smaller, not cut off
        ax.text(0.1, y + 0.36, where, va="center", size=size, color="#555555")
        for k, method in enumerate(methods):
            mine = part[part["method"] == method]
            if len(mine):
                row, left = mine.iloc[0], _LABEL + k * _CELL
                if row["role"] == "control":
                    _control(ax, left, y, row)
                else:
                    _cell(ax, left, y, row, verdicts.finding(tables.controls, row))
        x = _LABEL + len(methods) * _CELL + 0.12
        metric = words.metric_of(first)
        values = [words.number(first[c], metric) for c in ("ind_mean", "target")]
        level = " → ".join(values)
        if first["ceiling"] == first["ceiling"]:
            level += f" ({words.number(first['ceiling'], metric)})"
        if (floor := first.get("floor")) is not None and floor == floor:
            level += f" [{words.number(floor, metric)}]"
        ax.text(x, y + 0.17, level, va="center", size=8.5)
        seeds = sorted({int(n) for n in part["n_seeds_dist"]})
        many = f"{seeds[0]}–{seeds[-1]}" if len(seeds) > 1 else f"{seeds[0]}"
        note = f"{int(first['n_seeds_ind'])} ind., {many} dist. seeds"
        note = f"{words.units(first['n_units'], first['unit'])}; {note}"
        size = min(7.0, 7.0 * 41 / len(note))
        ax.text(x, y + 0.35, note, va="center", size=size, color="#555555")


def _left_out(tables: Tables) -> list[str]:
    """Properties that were asked for and not measured, with their reasons."""
    if tables.left_out is None:
        return []
    rows = tables.left_out.drop_duplicates(["pair", "probe"])
    return [
        f"{words.property_words(str(r.probe)).label} ({r.pair}): {r.reason}"
        for r in rows.itertuples()
    ]


def _cell(ax: Any, x: float, y: float, row: Any, finding: str, width: float = _CELL) -> None:
    """One verdict: colour, hatching and frame say it, so that no single channel has to."""
    from matplotlib.patches import Rectangle

    from kdpipe.figures.shared.cells import blended, ink, shade

    box = (x + 0.03, y + 0.03), width - 0.06, _ROW - 0.06
    middle = x + width / 2
    closed = row["gap_closed"]
    if finding in ("no gap", verdicts.NOT_JUDGED) or closed != closed:
        crossed = "xx" if finding == verdicts.NOT_JUDGED else None
        ax.add_patch(Rectangle(*box, fc=_GREY, ec="white", hatch=crossed, lw=0))
        change = words.number(row["diff"], words.metric_of(row), signed=True)
        ax.text(middle, y + 0.17, finding, ha="center", va="center", size=8, color="#555555")
        below = f"Δ {change}" if finding == "no gap" else _SHORTLY.get(_begin(row), "")
        ax.text(middle, y + 0.34, below, ha="center", va="center", size=6.5, color="#555555")
        return
    hatch = {"inconclusive": "////", verdicts.NO_FINDING: "...."}.get(finding)
    # Paler where nothing is decided.
    face = blended(shade(closed), 0.45 if hatch else 1)
    ax.add_patch(Rectangle(*box, fc=face, ec="#cccccc" if hatch else "none", hatch=hatch, lw=0))
    frame = {"transferred": ("#053061", "-"), "opposite": ("#67001f", "--")}.get(finding)
    if frame:
        ax.add_patch(Rectangle(*box, fill=False, ec=frame[0], ls=frame[1], lw=1.6))
    weight = "bold" if finding in ("transferred", "opposite") else "normal"
    colour = "#3d3d3d" if hatch else ink(face)
    mark = {"opposite": "▼ ", verdicts.NO_FINDING: "† "}.get(finding, "")
    text = {"ha": "center", "va": "center", "color": colour}
    ax.text(middle, y + 0.17, mark + words.share(closed), weight=weight, size=9.5, **text)
    spread = words.share_interval(row["closed_low"], row["closed_high"])
    ax.text(middle, y + 0.34, spread, size=6.5, **text)


_SAMPLE = {"probe": "accuracy", "metric": "accuracy"}
"""What the samples of the legend are values of."""
_SHORTLY = {reasons.AT_CHANCE: "network at chance", reasons.NO_VALUE: "no value"}


def _begin(row: Any) -> str:
    """What kind of reason a row has."""
    reason = str(row["reason"])
    return next((kind for kind in _SHORTLY if reason.startswith(kind)), "")


def _control(ax: Any, x: float, y: float, row: Any, width: float = _CELL) -> None:
    """A control has no verdict and no colour: only the change, framed where it is not 0."""
    from matplotlib.patches import Rectangle

    changed = row["diff_low"] > 0 or row["diff_high"] < 0
    box = (x + 0.03, y + 0.03), width - 0.06, _ROW - 0.06
    frame: dict[str, Any] = {"ec": "black", "lw": 1.6} if changed else {"ec": "#bbbbbb", "lw": 0.8}
    ax.add_patch(Rectangle(*box, fc="white", **frame))
    change = words.number(row["diff"], words.metric_of(row), signed=True)
    spread = words.interval(row["diff_low"], row["diff_high"], words.metric_of(row), signed=True)
    weight = "bold" if changed else "normal"
    text = {"ha": "center", "va": "center", "color": "black" if changed else "#444444"}
    ax.text(x + width / 2, y + 0.17, f"Δ {change}", size=8, weight=weight, **text)
    ax.text(x + width / 2, y + 0.34, spread, size=6.5, **text)


def _legend(ax: Any, y: float, width: float, without: str) -> None:
    """One sample cell for each kind of verdict, and the colour scale.

    ``without``: a reason why a claim of the picture has no verdict; empty where all have one.
    """
    not_judged = [
        (verdicts.NOT_JUDGED, float("nan"), "not judged", "no verdict, for\nthe reason given")
    ]
    not_judged = not_judged if without else []
    blank = {"diff": 0.002, "diff_low": -0.01, "diff_high": 0.014, **_SAMPLE}
    samples = [
        ("transferred", 0.65, "transferred", "students are closer\nto the target"),
        ("not transferred", 0.02, "not transferred", "closes less than\n10 % of the gap"),
        ("opposite", -0.45, "opposite", "students are farther\nfrom the target"),
        ("inconclusive", 0.3, "inconclusive", "these seeds and images\ncannot tell"),
        (verdicts.NO_FINDING, 0.3, "† within seeds", "independent students\ndiffer as much"),
        ("no gap", float("nan"), "no gap", "nothing to transfer;\nΔ is the change"),
        *not_judged,
        ("control", float("nan"), "control", "no verdict; framed\nif the change is not 0"),
    ]
    step = (width - 0.2) / len(samples)
    for k, (finding, closed, label, meaning) in enumerate(samples):
        x = 0.1 + k * step
        ends = {"closed_low": closed - 0.1, "closed_high": closed + 0.1}
        row = {**blank, **ends, "gap_closed": closed, "reason": without}
        if finding == "control":
            _control(ax, x, y, row, width=0.9)
        else:
            _cell(ax, x, y, row, finding, width=0.9)
        ax.text(x + 0.03, y + _ROW + 0.12, label, size=7.5, weight="bold", va="center")
        ax.text(x + 0.03, y + _ROW + 0.24, meaning, size=7, va="top", color="#444444")
    from matplotlib import colormaps

    ramp = [[0.5 + 0.4 * (i / 50 - 1) for i in range(101)]]
    top = y + _ROW + 0.62
    ax.imshow(
        ramp, cmap=colormaps["RdBu"], vmin=0, vmax=1, aspect="auto",
        extent=(0.13, 2.13, top + 0.14, top),
    )  # fmt: skip
    ax.text(2.2, top + 0.07, "−100 % … 0 % … 100 % of the gap closed", va="center", size=7.5)
