"""The table ``power``: of each open claim, the seeds or images that would decide it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from kdpipe.probes.shared.records import Statistic
from kdpipe.results import statistics as st
from kdpipe.results.collect import Measured, Network, outcomes_of
from kdpipe.results.columns import Row
from kdpipe.results.comparison import Comparison
from kdpipe.results.forecast import forecast
from kdpipe.results.power import AT_MOST, Need, Rule, need
from kdpipe.results.reasons import NOT_MEASURABLE
from kdpipe.results.transfer import compare, pairing_of

NO_VARIANCE = "the measurements give no variance"
ROW = ("pair", "method", "probe", "condition", "metric", "family", "n_seeds_ind", "n_seeds_dist")


def is_open(row: Row) -> bool:
    """Whether more seeds or images may give a primary claim a verdict.

    It is inconclusive, or its gap would count if it is what it seems but may be 0 for what is
    known. A gap that is known to be small is an answer.
    """
    if row["verdict"] == "inconclusive":
        return True
    return bool(row["reason"] == NOT_MEASURABLE and abs(row["gap"]) >= row["min_gap"])


def power_rows(
    found: Iterable[Measured], transfer: Sequence[Row], at_most: int = AT_MOST
) -> list[Row]:
    """Rows of ``power``, one for each open claim of ``transfer``.

    ``at_most``: the most seeds a side that are considered.
    """
    rows = {_place(row): row for row in transfer if row["primary"] and is_open(row)}
    judged = [r["family"] for r in transfer if r["p_adjusted"] is not None]
    claims = Counter(judged)
    made = []
    for measured in found:
        for statistic in (s for s in measured.statistics if s.primary):
            for method in measured.dist:
                place = (measured.pair.name, method, measured.instance.probe)
                row = rows.get((*place, statistic.condition, statistic.metric))
                if row is not None:
                    made.append(_row(row, measured, statistic, method, claims, at_most))
    return made


def _row(
    row: Row,
    measured: Measured,
    statistic: Statistic,
    method: str,
    claims: Counter[str],
    at_most: int,
) -> Row:
    key = (statistic.condition, statistic.metric)
    dist = [n for n in measured.dist[method] if _has_value(n, key)]
    ind = [n for n in measured.ind if _has_value(n, key)]

    def without(i: int | None, j: int | None) -> Comparison:
        fewer = replace(measured, dist={method: _but(dist, i)}, ind=_but(ind, j))
        return _compare(fewer, statistic, method)

    now = without(None, None)
    rule = Rule(st.ALPHA / claims[row["family"]], row["min_gap"])
    seen = none = Need(None, "")
    share, reason = now.diff / now.gap if now.gap else float("nan"), None
    if not np.isfinite(share) or (now.unit is None and now.scope != "method"):
        reason = NO_VARIANCE
    else:
        f = forecast(now, len(dist), len(ind), without)
        seen, none = need(f, rule, share, at_most), need(f, rule, 0.0, at_most)
    return {name: row[name] for name in ROW} | {
        "n_units": row["n_units"],
        "n_claims": claims[row["family"]],
        "level": rule.level,
        "share": share,
        "at_most": at_most,
        "seeds_as_seen": seen.seeds,
        "verdict_as_seen": seen.verdict or None,
        "units_as_seen": seen.units,
        "seeds_if_none": none.seeds,
        "units_if_none": none.units,
        "reason": reason,
    }


def _compare(measured: Measured, statistic: Statistic, method: str) -> Comparison:
    key = (statistic.condition, statistic.metric)
    return compare(
        outcomes_of(measured.dist[method], key),
        outcomes_of(measured.ind, key),
        measured.teacher.outcomes.get(key) if measured.teacher else None,
        statistic.target,
        pairing_of(measured, method, key),
    )


def _has_value(network: Network, key: tuple[str, str]) -> bool:
    return key in network.outcomes and bool(np.isfinite(network.outcomes[key].value))


def _but(networks: list[Network], left_out: int | None) -> list[Network]:
    return [n for k, n in enumerate(networks) if k != left_out]


def _place(row: Row) -> tuple[str, ...]:
    return tuple(row[name] for name in ("pair", "method", "probe", "condition", "metric"))
