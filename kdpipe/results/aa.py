"""The A/A test: independent students against independent students, under the rule of a verdict.

Of the independent students of a pair, one half plays the distilled ones. Nothing was distilled, so
each ``transferred`` or ``opposite`` is an error of the rule. The halves share no seed, so that
their students are not paired: this tests the form of the rule with two seed terms;
:mod:`kdpipe.results.aa_paired` tests the paired one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from math import comb
from typing import NamedTuple

import numpy as np
from scipy.special import betaincinv

from kdpipe.base.chance import Level
from kdpipe.base.seeding import stream
from kdpipe.results import statistics as st
from kdpipe.results.collect import Measured
from kdpipe.results.columns import Row
from kdpipe.results.transfer import transfer_rows

METHOD = "aa"
FEWEST = 4
"""Independent students of a pair: two on each side."""
SPLITS = 100
FALSE = ("transferred", "opposite")


class Count(NamedTuple):
    """How the claims of one property, or of all, ended over the splits; shares in [0, 1].

    ``claims``: pairs and properties. ``trials``: ways in which students were divided in two, for
    each property and group of students. ``judged``: verdicts in all. ``false``: share of
    ``transferred`` and ``opposite``, a mean over claims; ``low`` and ``high``: its 95 % interval.
    ``significant``: share of p < 0.05 before correction. ``no_gap``: share without a gap, which
    cannot be in error.
    """

    name: str
    claims: int
    trials: int
    judged: int
    false: float
    low: float
    high: float
    significant: float
    no_gap: float


def usable(found: Iterable[Measured]) -> list[Measured]:
    """Claims of pairs with enough independent students, reduced to their primary statistic."""
    kept = []
    for measured in found:
        primary = [s for s in measured.statistics if s.primary and s.role == "claim"]
        if primary and measured.pair.role == "claim" and len(measured.ind) >= FEWEST:
            kept.append(replace(measured, statistics=primary))
    return kept


def aa_rows(
    found: Sequence[Measured], levels: Mapping[str, Level] | None = None, most: int = SPLITS
) -> list[Row]:
    """Judged claims of every split, as rows of ``transfer``.

    ``found``: of ``usable``. ``most``: splits at most; fewer where there are no more. In one split
    all pairs with the same seeds are split alike, and Holm's correction runs over the pairs.
    """
    splits = {seeds: _splits(len(seeds), most) for seeds in map(_seeds, found)}
    rows = []
    for k in range(max(map(len, splits.values()), default=0)):
        halves = [_split(m, splits[_seeds(m)][k % len(splits[_seeds(m)])]) for m in found]
        rows += transfer_rows(halves, levels)
    return rows


def count(found: Sequence[Measured], rows: Iterable[Row], most: int = SPLITS) -> list[Count]:
    """One count for each property and one, the last, for all; properties without a judged claim
    are left out.

    ``rows``: of ``aa_rows`` with the same ``found`` and ``most``.
    """
    groups = {(m.pair.name, m.instance.probe): _group(m) for m in found}
    ways = {_group(m): _ways(len(m.ind), most) for m in found}
    return counts_of(
        rows,
        lambda row: (row["pair"], row["probe"]),
        lambda claims: sum(
            ways[group] for group in {groups[pair, probe] for pair, probe in claims}
        ),
    )


Claim = tuple[str, ...]
"""Pair, perhaps method, and at the end the property."""


def counts_of(
    rows: Iterable[Row],
    claim: Callable[[Row], Claim],
    trials: Callable[[Iterable[Claim]], int],
) -> list[Count]:
    """Counts of judged rows by property and, at the end, of all. ``trials``: of these claims."""
    claims: dict[Claim, list[Row]] = defaultdict(list)
    for row in rows:
        if row["verdict"] is not None:
            claims[claim(row)].append(row)
    probes = sorted({key[-1] for key in claims})
    of_probe = [{k: v for k, v in claims.items() if k[-1] == probe} for probe in probes]
    named = [*zip(probes, of_probe, strict=True), *([("", claims)] if claims else [])]
    return [_count(name, part, trials(part)) for name, part in named]


def _count(name: str, claims: Mapping[Claim, list[Row]], trials: int) -> Count:
    def share(holds: Callable[[Row], bool]) -> float:
        return float(np.mean([np.mean([holds(row) for row in rows]) for rows in claims.values()]))

    false = share(lambda row: row["verdict"] in FALSE)
    return Count(
        name,
        claims=len(claims),
        trials=trials,
        judged=sum(map(len, claims.values())),
        false=false,
        **dict(zip(("low", "high"), clopper_pearson(false, trials), strict=True)),
        significant=share(lambda row: row["p_value"] < st.ALPHA),
        no_gap=share(lambda row: row["verdict"] == "no gap"),
    )


def clopper_pearson(share: float, n: int) -> tuple[float, float]:
    """95 % interval of a rate that was ``share`` in ``n`` independent trials."""
    hits = share * n
    low = float(betaincinv(hits, n - hits + 1, st.ALPHA / 2)) if hits > 0 else 0.0
    high = float(betaincinv(hits + 1, n - hits, 1 - st.ALPHA / 2)) if hits < n else 1.0
    return low, high


def _splits(n: int, most: int) -> list[tuple[int, ...]]:
    """Places of those that play the distilled students: every half, or ``most`` random ones."""
    half = n // 2
    if comb(n, half) <= most:
        return list(combinations(range(n), half))
    rng = np.random.default_rng(stream("aa", n))
    return [tuple(sorted(rng.permutation(n)[:half].tolist())) for _ in range(most)]


def _ways(n: int, most: int) -> int:
    """Ways to divide ``n`` students that are among the splits, whichever side is which.

    They overlap, but are as good as independent trials: of normally distributed students, the share
    of errors varies no more from study to study (3 ways of 4 students are as good as 3.2 trials, 35
    ways of 8 as 54).
    """
    everyone = frozenset(range(n))
    return len({frozenset([frozenset(s), everyone - set(s)]) for s in _splits(n, most)})


def _split(measured: Measured, chosen: tuple[int, ...]) -> Measured:
    """``measured`` with some of its independent students as the students of a method."""
    pair = measured.pair
    playing = [measured.ind[k] for k in chosen]
    others = [n for k, n in enumerate(measured.ind) if k not in chosen]
    refs = {seed: pair.network("ind", seed) for seed in pair.ind_seeds}
    split = pair.model_copy(
        update={
            "ind_seeds": [n.seed for n in others],
            "methods": {METHOD: [n.seed for n in playing]},
            "taken": {"ind": refs, METHOD: refs},
        }
    )
    return replace(measured, pair=split, ind=others, dist={METHOD: playing})


def _seeds(measured: Measured) -> tuple[int, ...]:
    return tuple(network.seed for network in measured.ind)


def _group(measured: Measured) -> tuple[str, ...]:
    """Property and students: claims that share both are no independent trials."""
    return measured.instance.probe, *(ref.path for ref in measured.pair.independents())
