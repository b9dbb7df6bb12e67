"""The Ind-vs-Ind' control: the spread between independent students."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations

import numpy as np

from kdpipe.results.collect import Key, Measured, aligned, outcomes_of
from kdpipe.results.columns import Row
from kdpipe.results.comparison import Array, mean
from kdpipe.results.win_rate import wins

MIN_SEEDS = 3
"""Two seeds have one difference, and its range means nothing."""


def control_rows(found: Iterable[Measured], transfer: Sequence[Row]) -> list[Row]:
    """Rows of ``controls``, one for each row of ``transfer``.

    ``control_low`` and ``control_high`` span the difference between two independent seeds over
    all unordered pairs. Which of a pair comes first is arbitrary, so the range is symmetric
    about 0. Null with fewer than 3 seeds.
    """
    differences: dict[tuple[str, ...], Array] = {}
    for measured in found:
        for statistic in measured.statistics:
            key = (statistic.condition, statistic.metric)
            place = (measured.pair.name, measured.instance.probe, *key)
            differences[place] = seed_differences(measured, key)
    names = ("pair", "method", "probe", "condition", "metric", "diff")
    rows = []
    for row in transfer:
        place = (row["pair"], row["probe"], row["condition"], row["metric"])
        rows.append({name: row[name] for name in names} | _range(row["diff"], differences[place]))
    return rows


def seed_differences(measured: Measured, key: Key) -> Array:
    """The statistic's difference for every unordered pair of independent seeds, (P,).

    For a win rate: the rate of one seed over the other, minus 1/2.
    """
    base = measured.won_from.get(key)
    if base is None:
        values = [o.value for o in outcomes_of(measured.ind, key)]
        found = [a - b for a, b in combinations(values, 2)]
    else:
        outcomes = aligned(outcomes_of(measured.ind, base))
        found = [mean(wins(a, b)) - 0.5 for a, b in combinations(outcomes, 2)]
    differences = np.array(found, dtype=np.float64)
    return differences[np.isfinite(differences)]


def _range(diff: float, differences: Array) -> Row:
    count = len(differences)
    row: Row = {"n_pairs": count, "control_low": None, "control_high": None, "inside": None}
    if count >= MIN_SEEDS * (MIN_SEEDS - 1) // 2:
        reach = float(np.abs(differences).max())
        row |= {"control_low": -reach, "control_high": reach}
        if np.isfinite(diff):
            row["inside"] = bool(-reach <= diff <= reach)
    return row
