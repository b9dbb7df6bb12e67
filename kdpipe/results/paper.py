"""The paper's numbers beside this study's, for every cell of the paper that a pair repeats.

``paper_values.csv`` holds the published values. A pair names its counterpart by the option
``paper``, a probe by ``in_paper`` those of its metrics that repeat one of the paper's; a condition
is found by ``paper_domains`` or, without an entry there, by its name.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Literal
from urllib.parse import unquote

import numpy as np

from kdpipe.probes import probes
from kdpipe.results.columns import Row
from kdpipe.results.comparison import mean, std
from kdpipe.results.measurements import INDEPENDENT, TEACHER
from kdpipe.results.settings import PairSettings

Direction = Literal["yes", "no", "undecided"]
Places = dict[str, list[tuple[str, str]]]

METHODS = {"softlabel": "soft_label"}
"""Methods that the paper's table calls differently."""

_APPROXIMATE = ("read off the plot", "differs from", "guess")


@dataclass(frozen=True)
class Published:
    """One cell of the paper. Fractions, also where the paper prints percent."""

    table: str
    pair: str
    method: str
    condition: str
    metric: str
    value: float
    std: float

    @property
    def approximate(self) -> bool:
        """Read off a plot, assigned by guess, or contradicted by a table with error bars."""
        return any(words in self.table for words in _APPROXIMATE)


def repeated() -> Places:
    """By the name of a metric in the paper's tables, the (probe, metric) that repeat it, in the
    order of the properties. The first that was measured counts."""
    found: Places = {}
    for probe in sorted(probes.names(), key=lambda name: (probes.get(name).place, name)):
        for cell, metric in probes.get(probe).in_paper.items():
            found.setdefault(cell, []).append((probe, metric))
    return found


def published() -> list[Published]:
    """Every value of the paper, in the order of ``paper_values.csv``."""
    text = files("kdpipe.results").joinpath("paper_values.csv").read_text(encoding="utf-8")
    return [
        Published(
            table=row["table"],
            pair=row["pair"],
            method=row["method"],
            condition=row["condition"],
            metric=row["metric"],
            value=_fraction(row["value"], row["unit"]),
            std=_fraction(row["std"], row["unit"]),
        )
        for row in csv.DictReader(text.splitlines())
    ]


def paper_rows(
    pairs: Iterable[PairSettings], measurements: Sequence[Row], transfer: Sequence[Row]
) -> list[Row]:
    """Rows of ``paper``; none when no pair names a counterpart.

    ``table, pair, method, condition, metric`` are the paper's own names, so that a row can be
    looked up in ``paper_values.csv``.
    """
    rows: list[Row] = []
    pairs = [pair for pair in pairs if pair.paper]
    if not pairs:  # nothing to look up, and no probe to load
        return rows
    cells, places = published(), repeated()
    for pair in pairs:
        of_pair = [cell for cell in cells if cell.pair == pair.paper]
        independents = [cell for cell in of_pair if cell.method == INDEPENDENT]
        mine = [row for row in measurements if row["pair"] == pair.name]
        compared = [row for row in transfer if row["pair"] == pair.name]
        for cell in of_pair:
            for probe, condition, metric in _measured_as(cell, pair, mine, places):
                here = {"probe": probe, "condition": condition, "metric": metric}
                rows.append(_row(cell, _baseline(cell, independents), here, mine, compared))
    return rows


def same_direction(
    paper_diff: float, paper_spread: float, diff: float, low: float, high: float
) -> Direction:
    """Whether paper and study agree on which side of the independents a method lies.

    Undecided when the published difference is no larger than its spread (the root of the summed
    squares of the two published stds; 0 where none is published), and also when the interval of
    the measured difference contains 0 or is unknown: the sign of noise neither confirms nor
    contradicts anything.
    """
    decided = abs(paper_diff) > paper_spread and (low > 0 or high < 0)
    if not decided:
        return "undecided"
    return "yes" if paper_diff * diff > 0 else "no"


def _row(
    cell: Published, ind: Published | None, here: Row, mine: list[Row], compared: list[Row]
) -> Row:
    method = METHODS.get(cell.method, cell.method)
    values = np.array([row["value"] for row in _at(mine, here | {"method": method})])
    return {
        "table": cell.table,
        "pair": cell.pair,
        "method": cell.method,
        "condition": cell.condition,
        "metric": cell.metric,
        "paper_value": cell.value,
        "paper_std": cell.std,
        "approximate": cell.approximate,
        "measured_mean": mean(values),
        "measured_std": std(values[np.isfinite(values)]),
        "same_direction": _direction(cell, ind, method, _at(compared, here)),
    }


def _direction(
    cell: Published, ind: Published | None, method: str, compared: list[Row]
) -> Direction:
    """A teacher is compared by the gap; the independents do not differ from themselves."""
    if ind is None or method == INDEPENDENT:
        return "undecided"
    names = ("diff", "diff_low", "diff_high")
    if method == TEACHER:
        names = ("gap", "gap_low", "gap_high")
        # Only where the gap is the teacher's own value minus the independents'.
        compared = [row for row in compared if row["teacher"] == row["target"]]
    else:
        compared = [row for row in compared if row["method"] == method]
    if not compared:
        return "undecided"
    spread = math.hypot(*(s for s in (cell.std, ind.std) if math.isfinite(s)))
    return same_direction(cell.value - ind.value, spread, *(compared[0][name] for name in names))


def _measured_as(
    cell: Published, pair: PairSettings, mine: list[Row], places: Places
) -> Iterator[tuple[str, str, str]]:
    """(probe, condition, metric) under which the study measured a cell of the paper."""
    method = METHODS.get(cell.method, cell.method)
    for probe, metric in places.get(cell.metric, ()):
        of_probe = _at(mine, {"probe": probe, "metric": metric, "method": method})
        conditions = sorted({row["condition"] for row in of_probe})
        found = [c for c in conditions if cell.condition in names(probe, c, pair)]
        if found:
            yield from ((probe, condition, metric) for condition in found)
            return


def names(probe: str, condition: str, pair: PairSettings) -> set[str]:
    """What the paper may call a condition: ``domain=sketch`` is its ``sketch``, and
    ``domain=photo;strength=0.4`` of the colour probe its ``colour strength=0.4``. An entry of
    ``paper_domains`` is final."""
    if condition in pair.paper_domains:
        found = pair.paper_domains[condition]
        return {found} if isinstance(found, str) else set(found)
    rest = ";".join(part for part in condition.split(";") if not part.startswith("domain="))
    return {condition, unquote(condition.removeprefix("domain=")), f"{probe} {unquote(rest)}"}


def _at(rows: list[Row], place: Row) -> list[Row]:
    return [row for row in rows if all(row[k] == v for k, v in place.items())]


def _baseline(cell: Published, independents: list[Published]) -> Published | None:
    """The published independents of a cell: of its own table, else of another one."""
    same = [i for i in independents if (i.condition, i.metric) == (cell.condition, cell.metric)]
    same.sort(key=lambda i: (i.table != cell.table, i.approximate))
    return same[0] if same else None


def _fraction(text: str, unit: str) -> float:
    """NaN for an empty field. Rounded, so that 70.04 % is 0.7004 and not a neighbour of it."""
    if not text:
        return float("nan")
    return round(float(text) / 100, 8) if unit == "%" else float(text)
