"""The A/A test of students that are paired seed by seed.

Nothing but the labels and the teacher sets the two students of a seed apart, and what the teacher
does on average is removed: of the difference of each seed, image by image, the mean over seeds is
taken away, and what is left counts with a random sign. Student k of the method is then independent
student k plus its own deviation, towards either side. No image has an effect, and what the two
students of a seed share, they still share (a wild bootstrap: Wu, Annals of Statistics 14, 1986).
Each ``transferred`` or ``opposite`` is an error of the rule.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from kdpipe.base.chance import Level
from kdpipe.base.seeding import stream
from kdpipe.results.aa import SPLITS, Count, counts_of
from kdpipe.results.collect import SET, Key, Measured, Network, Outcome, aligned
from kdpipe.results.columns import Row
from kdpipe.results.comparison import Array
from kdpipe.results.looks import judged
from kdpipe.results.settings import Decide
from kdpipe.results.statistics import MIN_PAIRED_SEEDS
from kdpipe.results.transfer import transfer_rows

WORTH = 0.9
"""Independent trials that one way to give signs is worth, at least."""


def usable(found: Iterable[Measured], decide: Decide | None = None) -> list[Measured]:
    """Claims of paired methods with enough seeds, reduced to their primary statistic.

    ``decide``: with looks, methods that have the seeds of the last one.
    """
    least = MIN_PAIRED_SEEDS if decide is None else decide.at_most
    kept = []
    for measured in found:
        primary = [s for s in measured.statistics if s.primary and s.role == "claim"]
        keys = [(s.condition, s.metric) for s in primary]
        seeds = [n.seed for n in measured.ind]
        methods = {
            method: own
            for method, own in measured.dist.items()
            if measured.pair.is_paired(method)
            and [n.seed for n in own] == seeds
            and len(seeds) >= least
            and all(key in n.outcomes for key in keys for n in (*own, *measured.ind))
        }
        if primary and methods and measured.pair.role == "claim":
            pair = measured.pair.model_copy(
                update={"methods": {m: measured.pair.methods[m] for m in methods}}
            )
            kept.append(replace(measured, pair=pair, statistics=primary, dist=methods, won_from={}))
    return kept


def paired_rows(
    found: Sequence[Measured],
    levels: Mapping[str, Level] | None = None,
    most: int = SPLITS,
    decide: Decide | None = None,
) -> list[Row]:
    """Judged claims for every way to give signs, as rows of ``transfer``.

    ``found``: of ``usable`` with the same ``decide``. ``most``: ways at most. All claims with
    the same number of seeds get the same signs at a time.
    """
    signs = {count: _signs(count, most) for count in {len(m.ind) for m in found}}
    rows = []
    for k in range(max(map(len, signs.values()), default=0)):
        null = [_without_effect(m, signs[len(m.ind)][k % len(signs[len(m.ind)])]) for m in found]
        if decide is None:
            rows += transfer_rows(null, levels)
        else:
            rows += judged(null, decide, levels).transfer
    return rows


def count_paired(found: Sequence[Measured], rows: Iterable[Row], most: int = SPLITS) -> list[Count]:
    """As ``aa.count``; claims of one property about the same independent students are no
    independent trials."""
    group = {(m.pair.name, m.instance.probe): (m.instance.probe, m.pair.student) for m in found}
    trials = {
        (m.instance.probe, m.pair.student): round(WORTH * len(_signs(len(m.ind), most)))
        for m in found
    }
    return counts_of(
        rows,
        lambda row: (row["pair"], row["method"], row["probe"]),
        lambda claims: sum(
            trials[own] for own in {group[pair, probe] for pair, _, probe in claims}
        ),
    )


def _signs(count: int, most: int) -> Array:
    """Signs of the seeds, (ways, count): all of them but for the sign of all together, or ``most``
    random ones. The first sign is +: the opposite way has the opposite difference."""
    ways = 2 ** (count - 1)
    rng = np.random.default_rng(stream("aa", "signs", count))
    if count > 20:
        bits = rng.integers(0, 2, (most, count - 1))
    else:
        chosen = np.arange(ways) if ways <= most else rng.choice(ways, most, replace=False)
        bits = (chosen[:, None] >> np.arange(count - 1)) & 1
    return np.concatenate([np.ones((len(bits), 1)), 1.0 - 2 * bits], axis=1)


def _without_effect(measured: Measured, signs: Array) -> Measured:
    """``measured`` with students of methods that do nothing but scatter."""
    keys = [(s.condition, s.metric) for s in measured.statistics]
    made = {}
    for method, own in measured.dist.items():
        by_key = {key: _scattered(own, measured.ind, key, signs) for key in keys}
        made[method] = [
            Network(network.seed, {key: by_key[key][k] for key in keys}, network.statistics)
            for k, network in enumerate(own)
        ]
    return replace(measured, dist=made)


def _scattered(own: list[Network], ind: list[Network], key: Key, signs: Array) -> list[Outcome]:
    pairs = [n.outcomes[key] for n in (*own, *ind)]
    first = pairs[0]
    values = _scatter(aligned(pairs), signs)
    ids = np.unique(np.concatenate([o.ids for o in pairs]))
    if first.unit != SET:
        return [Outcome(first.unit, ids, row) for row in values]
    replicates = _scatter(aligned(pairs, replicates=True), signs)
    places = np.unique(np.concatenate([o.replicate_ids for o in pairs]))
    return [
        Outcome(SET, ids, value, places, row, first.set_size)
        for value, row in zip(values, replicates, strict=True)
    ]


def _scatter(both: Array, signs: Array) -> Array:
    """Independent students plus their seed's deviation from the mean effect, with its sign.

    ``both``: values of distilled and independent students, (2 K, n). Deviations from a mean are
    smaller than those from the truth, by sqrt(1 - 1/K).
    """
    dist, ind = np.split(both, 2)
    differences = dist - ind
    known = np.isfinite(differences)
    total = np.where(known, differences, 0.0).sum(axis=0)
    left = differences - total / np.maximum(known.sum(axis=0), 1)
    count = len(signs)
    return np.asarray(ind + signs[:, None] * left * np.sqrt(count / (count - 1)))
