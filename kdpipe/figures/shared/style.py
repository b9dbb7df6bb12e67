"""The one look of all figures: colours, labels, panels, legends, and files of stable bytes."""

from __future__ import annotations

import itertools
import textwrap
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from kdpipe.base.provenance import write_atomically
from kdpipe.probes.shared.description import Metric
from kdpipe.results import words

# Okabe-Ito, which stays distinct under the common colour deficiencies. Markers repeat the
# distinction for black-and-white print.
_LOOK = {
    "teacher": ("#000000", "D"),
    "teacher2": ("#000000", "d"),
    "ind": ("#7f7f7f", "s"),
    "kl": ("#0072B2", "o"),
    "hint": ("#E69F00", "^"),
    "crd": ("#009E73", "v"),
    "soft_label": ("#CC79A7", "X"),
}
_FURTHER = [
    ("#D55E00", "P"),
    ("#56B4E9", "h"),
    ("#7B4F9D", "<"),
    ("#8C6D1F", ">"),
    ("#B2182B", "p"),
    ("#1B5E57", "*"),
]
MOST_ACROSS = 8
"""Entries of a legend in one row."""
_RC: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.fontsize": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.8,
    "hatch.linewidth": 0.7,
    "figure.facecolor": "white",
    "savefig.dpi": 160,
    "svg.fonttype": "none",  # text stays text: searchable, and small
    "svg.hashsalt": "kdpipe",  # otherwise every drawing has new random ids
}


_named: ContextVar[tuple[str, ...]] = ContextVar("methods of the study", default=())


@contextmanager
def context(methods: Iterable[str] = ()) -> Iterator[None]:
    """The style, for the time of drawing and saving; nothing global changes.

    ``methods``: those of the study, so that each has a look of its own in all figures.
    """
    token = _named.set(tuple(sorted(set(methods) - set(_LOOK))))
    try:
        with matplotlib.rc_context(_RC):
            yield
    finally:
        _named.reset(token)


def look(method: str) -> tuple[str, str]:
    """Colour and marker of a method. Those that people named share neither with one another, up
    to six; further ones repeat colours with other markers."""
    if method in _LOOK:
        return _LOOK[method]
    known = _named.get()
    k = known.index(method) if method in known else zlib.crc32(method.encode())
    turn, k = divmod(k, len(_FURTHER))
    return _FURTHER[k][0], _FURTHER[(k + turn) % len(_FURTHER)][1]


def sentence(text: str) -> Canvas:
    """A figure that says in words why there is nothing to see."""
    fig = Canvas(figsize=(7.2, 1.2))
    fig.text(0.5, 0.5, text, ha="center", va="center", color="#444444", wrap=True)
    return fig


def grid(rows: int, columns: int, width: float = 3.2, height: float = 2.5) -> tuple[Canvas, Any]:
    """A figure of ``rows`` × ``columns`` panels, never so narrow that its legend is cut off."""
    size = (max(6.6, width * columns), height * rows + 0.5)
    fig = Canvas(figsize=size, layout="constrained")
    layout: Any = fig.get_layout_engine()
    layout.set(w_pad=0.08, h_pad=0.08)
    return fig, fig.subplots(rows, columns, squeeze=False)


def axis_label(metric: Metric) -> str:
    """Name and unit of a metric, in lines that fit beside a panel."""
    named = f"{metric.label} ({metric.unit})" if metric.unit else metric.label
    return "\n".join(textwrap.wrap(named, 24))


def positions(conditions: pd.Series) -> tuple[dict[str, float], bool]:
    """Where each condition stands on the x axis, and whether that axis is a number line.

    Numbers of groups are names, not amounts.
    """
    distinct = list(dict.fromkeys(conditions))
    told, _ = words.apart(distinct)
    keyed = [item for c in told.values() for item in words.condition_values(c).items()]
    try:
        values = [float(value) for key, value in keyed if key not in ("group", "domain")]
    except ValueError:
        values = []
    if len(keyed) == len(values) == len(distinct):
        return dict(zip(distinct, values, strict=True)), True
    return {c: float(i) for i, c in enumerate(distinct)}, False


def _step(at: dict[str, float]) -> float:
    places = sorted(at.values())
    return min((b - a for a, b in itertools.pairwise(places)), default=1.0)


def dodge(at: dict[str, float], k: int, methods: int, spread: float = 0.7) -> float:
    """How far method ``k`` of so many stands from the middle of its condition."""
    return spread * _step(at) * ((k + 0.5) / methods - 0.5)


def grouped_points(ax: Any, rows: pd.DataFrame, methods: list[str], metric: Metric) -> None:
    """Mean and spread of each method over the conditions, and every seed as a dot."""
    at, numeric = positions(rows["condition"])
    places, gap = sorted(at.values()), _step(at)
    here = [m for m in methods if m in set(rows["method"])]
    # Points of a curve stay near their place on the axis; categories have room to spread out.
    spread = 0.3 if numeric and len(at) > 1 else 0.7
    aside = 0.25 * spread * gap / len(here)  # dots stand beside their mean, not on it
    for k, method in enumerate(here):
        colour, marker = look(method)
        values = rows[rows["method"] == method].assign(
            y=lambda r: r["value"] * metric.scale, x=lambda r: r["condition"].map(at)
        )
        offset = dodge(at, k, len(here), spread)
        by = values.groupby("x")["y"].agg(["mean", "std", "count"]).sort_index()
        if numeric and len(at) > 1:
            ax.plot(by.index + offset, by["mean"], color=colour, lw=1, alpha=0.6, zorder=2)
        ax.errorbar(
            by.index + offset, by["mean"], by["std"].fillna(0).where(by["count"] > 1, 0),
            fmt=marker, ms=5, color=colour, elinewidth=1.3, capsize=0, zorder=3,
        )  # fmt: skip
        repeated = values[values["x"].map(by["count"]) > 1]
        ax.scatter(
            repeated["x"] + offset + aside, repeated["y"], s=6, color=colour,
            alpha=0.55, linewidths=0, zorder=2,
        )  # fmt: skip
    told, _ = words.apart(list(at))
    labels = {x: _label(told[c]) for c, x in at.items()}
    if numeric:
        labels = {x: f"{x:g}" for x in labels}
    ax.set_xticks(list(labels), [_wrapped(t) for t in labels.values()])
    ax.set_xlim(places[0] - 0.6 * gap, places[-1] + 0.6 * gap)
    ax.yaxis.set_major_locator(MaxNLocator(5))
    ax.set_ylabel(axis_label(metric))


def control_band(ax: Any, rows: pd.DataFrame, controls: pd.DataFrame, metric: Metric) -> bool:
    """Shade how far independent seeds are apart, about their mean; whether it is known.

    A distilled student inside the band is no finding.
    """
    at, _ = positions(rows["condition"])
    middle = rows[rows["method"] == "ind"].groupby("condition")["value"].mean()
    reach = controls.dropna(subset=["control_high"]).groupby("condition")["control_high"].first()
    half, shown = 0.42 * _step(at), False
    for condition in middle.index.intersection(reach.index):
        ends = [middle[condition] + sign * reach[condition] for sign in (-1, 1)]
        ax.fill_between(
            [at[condition] - half, at[condition] + half], *(metric.scale * e for e in ends),
            color="#000000", alpha=0.07, lw=0, zorder=0,
        )  # fmt: skip
        shown = True
    return shown


def _label(condition: str) -> str:
    """The value alone where one key says everything: the axis names the key."""
    values = list(words.condition_values(condition).values())
    return values[0] if len(values) == 1 else words.condition_words(condition)


def _wrapped(text: str) -> str:
    return "\n".join(textwrap.wrap(text, 13))


def heading(ax: Any, text: str, rows: pd.DataFrame) -> None:
    """Panel title: what is compared, and on how many units."""
    low, high = rows["n"].min(), rows["n"].max()
    unit = words.UNITS.get(str(rows["unit"].iloc[0]), str(rows["unit"].iloc[0]))
    count = f"n = {low:.0f}–{high:.0f} {unit}" if low < high else words.units(low, unit)
    _, shared = words.apart(list(dict.fromkeys(rows["condition"])))
    count = f"{words.condition_words(shared)}, {count}" if shared else count
    ax.set_title(count, loc="right", fontsize=8, color="#666666")
    if text:
        ax.set_title(f"{text}\n", loc="left", fontweight="bold")


def legend(fig: Any, methods: list[str], rows: pd.DataFrame, *, banded: bool = False) -> None:
    """Methods, and what the marks mean, once above all panels."""
    entries = [
        (words.method_words(m), {"color": look(m)[0], "marker": look(m)[1], "ls": ""})
        for m in methods
    ]
    students = rows[~rows["method"].isin(["teacher", "teacher2", "untrained"])]
    seeds = students.groupby(["pair", "method"])["seed"].nunique()
    repeated = len(seeds) and seeds.max() > 1
    count = f"{seeds.min()}–{seeds.max()}" if repeated and seeds.min() < seeds.max() else None
    note = (
        f"mark: mean of {count or seeds.max()} seeds, bar: ± 1 standard deviation, dots: seeds"
        if repeated
        else "one network each, no spread over seeds"
    )
    if banded:
        note += "\ngrey band: range between two independent seeds"
    key(fig, entries, note)


def whole_numbers(ax: Any) -> None:
    """Ticks of the x axis at whole numbers only."""
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))


def key(fig: Any, entries: list[tuple[str, dict[str, Any]]], note: str | None = None) -> None:
    """A legend above the panels: labels with the properties of their line or mark."""
    drawn = fig.legend(
        # Matplotlib leaves out what begins with an underscore.
        handles=[
            Line2D([], [], label=f" {label}" if label[:1] == "_" else label, **line)
            for label, line in entries
        ],
        loc="outside upper center", ncols=min(len(entries), MOST_ACROSS), frameon=False,
        handletextpad=0.4, columnspacing=1.2, title=note, title_fontsize=8,
    )  # fmt: skip
    drawn.get_title().set_multialignment("center")


def _literal(fig: Any) -> None:
    """Dollar signs in names of classes and methods begin no formula; powers of ten do."""
    from matplotlib.text import Text

    powers: set[Text] = set()
    for ax in fig.axes:
        for axis in (ax.xaxis, ax.yaxis):
            labels = axis.get_ticklabels(which="both")
            powers.update(labels if axis.get_scale() == "log" else ())
    for text in fig.findobj(Text):
        if text not in powers:
            text.set_parse_math(False)


def save(fig: Any, folder: Path, name: str) -> list[Path]:
    """Write SVG and PNG under one name; a reader never sees half a file."""
    written = []
    _literal(fig)
    for kind, metadata in (("svg", {"Date": None, "Creator": None}), ("png", {"Software": None})):
        path = folder / f"{name}.{kind}"
        write_atomically(path, partial(fig.savefig, format=kind, metadata=metadata))
        fig.set_layout_engine("none")  # as it is: finding the layout takes half the time
        written.append(path)
    return written
