"""The table ``transfer``: what distilled students share with the teacher beyond independents."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np

from kdpipe.base.chance import Level, broken
from kdpipe.probes.shared.records import BESIDE_TEACHER, Statistic
from kdpipe.results import reasons
from kdpipe.results import statistics as st
from kdpipe.results.collect import SET, Key, Measured, Network, Outcome, aligned, outcomes_of
from kdpipe.results.columns import Row
from kdpipe.results.comparison import (
    Comparison,
    Pairing,
    from_replicates,
    from_units,
    mean,
    std,
)


def transfer_rows(
    found: Iterable[Measured], levels: Mapping[str, Level] | None = None
) -> list[Row]:
    """Rows of ``transfer``, one for each pair, method and statistic of the study.

    Only primary claims are corrected for being many (Holm within a probe) and get a verdict. None
    does, and ``reason`` says why, where there is no independent student to compare with, where a
    network of the comparison is at chance, or where one side has no value. ``levels``: how often
    each network is right, by its path, where that is known.
    """
    rows = compared_rows(found, levels)
    judge(rows)
    return rows


def compared_rows(
    found: Iterable[Measured],
    levels: Mapping[str, Level] | None = None,
    level: float = st.ALPHA,
) -> list[Row]:
    """The rows before they are judged; intervals are those of 1 - ``level``."""
    rows = []
    levels = levels or {}
    for measured in found:
        for statistic in measured.statistics:
            for method, networks in measured.dist.items():
                row = _row(measured, statistic, method, networks, level)
                if row["primary"] and row["role"] == "claim":
                    row["reason"] = _unjudged(measured, statistic, method, row, levels)
                rows.append(row)
    return rows


def judge(
    rows: Iterable[Row],
    p_of: Callable[[Row], float] = lambda row: float(row["p_value"]),
    ended: Callable[[Row], bool] = lambda row: False,
) -> None:
    """Fill ``p_adjusted``, ``verdict`` and ``reason`` of the primary claims, in place.

    The claims of one property are corrected together. Those that have a reason not to be judged do
    not count. ``p_of``: the p-value that is corrected. ``ended``: claims that count and keep the
    verdict that they have.
    """
    by_property: dict[str, list[Row]] = {}
    for row in rows:
        judged = row["reason"] is None or row["verdict"] is not None
        if row["primary"] and row["role"] == "claim" and judged:
            by_property.setdefault(row["family"], []).append(row)
    for claims in by_property.values():
        adjusted = st.holm([p_of(row) for row in claims])
        for row, p in zip(claims, adjusted, strict=True):
            if ended(row):
                continue
            row["p_adjusted"] = p
            row["reason"] = st.no_gap(row["gap"], _gap_of(row), row["min_gap"])
            row["verdict"] = st.verdict(
                has_gap=row["reason"] is None,
                diff=row["diff"],
                gap=row["gap"],
                p_adjusted=p,
                closed_high=row["closed_high"],
            )


def _unjudged(
    measured: Measured,
    statistic: Statistic,
    method: str,
    row: Row,
    levels: Mapping[str, Level],
) -> str | None:
    """The reason why a claim gets no verdict; None if it gets one."""
    if not measured.ind:
        return reasons.ALONE
    pair = measured.pair
    compared = [*pair.teacher.members, *pair.independents(), *pair.students(method)]
    weak = broken((ref.path for ref in compared), levels)
    if weak:
        return reasons.at_chance(weak, levels)
    sides = {
        "the teacher": statistic.target == "none" or np.isfinite(row["target"]),
        "independent students": row["n_seeds_ind"],
        f"the students of {method}": row["n_seeds_dist"],
    }
    without = [side for side, known in sides.items() if not known]
    return reasons.no_value(without, statistic.missing) if without else None


def _gap_of(row: Row) -> st.Interval:
    return st.Interval(row["gap_low"], row["gap_high"], np.nan)


def _row(
    measured: Measured,
    statistic: Statistic,
    method: str,
    networks: list[Network],
    level: float,
) -> Row:
    key = (statistic.condition, statistic.metric)
    teacher = measured.teacher.outcomes.get(key) if measured.teacher else None
    second = measured.second_teacher.outcomes.get(key) if measured.second_teacher else None
    c = compare(
        outcomes_of(networks, key),
        outcomes_of(measured.ind, key),
        teacher,
        statistic.target,
        pairing_of(measured, method, key),
    )
    diff, gap = st.diff_interval(c, level), st.gap_interval(c, level)
    closed, low, high = float("nan"), float("nan"), float("nan")
    own = statistic.min_gap
    min_gap = measured.instance.min_gap if own is None else own
    if st.no_gap(c.gap, gap, min_gap) is None:
        closed = c.diff / c.gap
        low, high = st.closed_interval(c, level)
    is_control = "control" in (measured.pair.role, statistic.role)
    return {
        "pair": measured.pair.name,
        "method": method,
        "probe": measured.instance.probe,
        "condition": statistic.condition,
        "metric": statistic.metric,
        "role": "control" if is_control else "claim",
        "family": measured.instance.probe,
        "primary": statistic.primary,
        "scope": c.scope,
        "teacher": teacher.value if teacher else None,
        "target": c.target,
        "ceiling": second.value if second and statistic.target in BESIDE_TEACHER else None,
        "ind_mean": mean(c.ind),
        "ind_std": std(c.ind),
        "dist_mean": mean(c.dist),
        "dist_std": std(c.dist),
        "diff": c.diff,
        "diff_low": diff.low,
        "diff_high": diff.high,
        "gap": c.gap,
        "gap_low": gap.low,
        "gap_high": gap.high,
        "gap_closed": closed,
        "closed_low": low,
        "closed_high": high,
        "p_value": diff.p,
        "p_adjusted": None,
        "n_seeds_ind": len(c.ind),
        "n_seeds_dist": len(c.dist),
        "n_units": c.n_units,
        "verdict": None,
        "min_gap": min_gap,
        "reason": None,
        "seed_term": st.seed_term(c),
        "look": None,
    }


def pairing_of(measured: Measured, method: str, key: Key) -> Pairing | None:
    """Seeds of the students that have the statistic; None where they are not paired."""
    if not measured.pair.is_paired(method):
        return None
    return Pairing(
        dist=np.array([n.seed for n in measured.dist[method] if key in n.outcomes]),
        ind=np.array([n.seed for n in measured.ind if key in n.outcomes]),
    )


def compare(
    dist: list[Outcome],
    ind: list[Outcome],
    teacher: Outcome | None,
    target: str,
    pairing: Pairing | None = None,
) -> Comparison:
    """Align the networks by unit and compare them; ``target`` as in ``Statistic.target``,
    ``pairing`` as in ``Comparison``."""
    if target != "teacher":
        teacher = None
    everyone = [*dist, *ind, *([teacher] if teacher else [])]
    fixed = BESIDE_TEACHER.get(target, float("nan"))
    is_set = any(outcome.unit == SET for outcome in everyone)
    rows = aligned(everyone, replicates=is_set)
    of_dist, of_ind, of_teacher = np.split(rows, [len(dist), len(dist) + len(ind)])
    if not is_set:
        return from_units(of_dist, of_ind, of_teacher[0] if teacher else fixed, pairing)
    return from_replicates(
        dist=np.array([outcome.value for outcome in dist]),
        ind=np.array([outcome.value for outcome in ind]),
        target=teacher.value if teacher else fixed,
        dist_replicates=of_dist,
        ind_replicates=of_ind,
        target_replicates=of_teacher[0] if teacher else None,
        n_units=max((o.set_size for o in everyone if o.set_size is not None), default=None),
        pairing=pairing,
    )
