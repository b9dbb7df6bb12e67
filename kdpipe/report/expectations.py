"""What was expected of the students, and what was found: one table of the report."""

from __future__ import annotations

import math
from collections.abc import Sequence

from kdpipe.report.values import Cell, Table
from kdpipe.results.judged import Judged


def table(judged: Sequence[Judged]) -> Table:
    """A row for each expectation and method."""
    head = ["Expected", "Pair", "Method", "Measured", "Interval (95 %)", "Finding"]
    return Table(head, [_row(one) for one in judged])


def _row(one: Judged) -> list[Cell]:
    value, interval = Cell("–"), Cell("–")
    if one.found is not None and math.isfinite(one.found.value):
        counted = f" ({one.found.n} {one.unit})" if one.found.n is not None else ""
        value = Cell(f"{one.found.value:.4g}{counted}", one.found.value)
        if math.isfinite(one.found.low):
            interval = Cell(f"{one.found.low:.4g} to {one.found.high:.4g}", one.found.low)
    said = one.finding + (f": {one.reason}" if one.reason else "")
    first = [Cell(one.expectation.text), Cell(one.pair), Cell(one.method)]
    return [*first, value, interval, Cell(said)]
