"""What a comparison would look like with more seeds or more images.

The variance of the seeds falls with their number. The variance of the images falls with the number
of images. A part of the latter falls with the seeds as well: what a seed answers on one image and
not on another averages out. ``mixed`` finds that part by leaving out one seed after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from kdpipe.results.comparison import Array, Comparison, Pairing, Term, mean, std
from kdpipe.results.statistics import seed_term

ENDLESS = 10_000
"""Seeds a side whose variance is nothing beside that of the units."""
LEFT_OUT = 10
"""Seeds that are left out one by one, at most: each comparison takes as long as the first."""


@dataclass(frozen=True)
class Forecast:
    """``now``: the comparison as measured; with one seed on a side only its units can be more.

    ``of_dist``, ``of_ind``: (2, 2), the part of the covariance of the unit term that falls with the
    number of distilled and of independent seeds, times that number.
    """

    now: Comparison
    of_dist: Array
    of_ind: Array

    @property
    def seeds(self) -> int:
        """The larger number of seeds of the two sides."""
        return max(len(self.now.dist), len(self.now.ind))

    def at(self, seeds: int, more: float = 1.0) -> Comparison:
        """The comparison with ``seeds`` a side, at least 3, and ``more`` times the units.

        Means, standard deviations and the correlation of paired seeds are those of now. Students
        that are paired have the same seeds on both sides then.
        """
        now = self.now
        unit = now.unit
        if unit is not None:
            fixed = unit.covariance - self.mixed(len(now.dist), len(now.ind))
            covariance = _positive(_positive(fixed) + self.mixed(seeds, seeds)) / more
            unit = Term(covariance, (unit.df + 1) * more - 1)
        n_units = None if now.n_units is None else round(now.n_units * more)
        if now.scope != "method":
            return replace(now, unit=unit, n_units=n_units)
        one, other = _contrasts(seeds)
        shared = self.correlation
        return replace(
            now,
            dist=mean(now.dist) + std(now.dist) * one,
            ind=mean(now.ind) + std(now.ind) * (shared * one + np.sqrt(1 - shared**2) * other),
            pairing=None if now.pairing is None else Pairing(np.arange(seeds), np.arange(seeds)),
            unit=unit,
            n_units=n_units,
        )

    @property
    def correlation(self) -> float:
        """Between the two students of a seed; 0 where the rule does not pair them yet, which asks
        for too many seeds rather than too few."""
        pairs = self.now.by_seed
        if pairs is None or seed_term(self.now) != "paired":
            return 0.0
        both = np.cov(pairs)
        scale = float(np.sqrt(both[0, 0] * both[1, 1]))
        return float(np.clip(both[0, 1] / scale, -1, 1)) if scale > 0 else 0.0

    def mixed(self, n_dist: int, n_ind: int) -> Array:
        """The part of the unit term's covariance that seeds and units make together, (2, 2)."""
        return self.of_dist / n_dist + self.of_ind / n_ind


def forecast(
    now: Comparison,
    n_dist: int,
    n_ind: int,
    without: Callable[[int | None, int | None], Comparison],
) -> Forecast:
    """Find how much of the unit term falls with the seeds.

    ``n_dist``, ``n_ind``: networks of each side. ``without(i, j)``: the comparison without
    distilled network i and independent network j; None leaves out none.

    If the unit term is A + B/K, then the one without a seed is A + B/(K − 1) on average, which
    gives B = K (K − 1) (mean of those without a seed − the one of all seeds).
    """
    none = np.zeros((2, 2))
    if now.unit is None or now.scope != "method":
        return Forecast(now, none, none)
    unit = now.unit.covariance

    def part(count: int, left: Iterable[Comparison]) -> Array:
        terms = [c.unit.covariance for c in islice(left, LEFT_OUT) if c.unit is not None]
        rise = np.mean(terms, axis=0) - unit if terms else none
        return _positive(rise) * count * (count - 1)

    if n_dist == n_ind:  # pairs of seeds may share what they answer
        both = part(n_dist, (without(i, i) for i in range(n_dist)))
        return Forecast(now, both, none)
    return Forecast(
        now,
        part(n_dist, (without(i, None) for i in range(n_dist))),
        part(n_ind, (without(None, j) for j in range(n_ind))),
    )


def _contrasts(count: int) -> tuple[Array, Array]:
    """Two uncorrelated rows of ``count`` values with mean 0 and standard deviation 1."""
    rows = np.zeros((2, count))
    rows[0, :2] = 1, -1
    rows[1, :3] = 1, 1, -2
    one, other = rows / rows.std(axis=1, ddof=1, keepdims=True)
    return one, other


def _positive(matrix: Array) -> Array:
    """The nearest covariance matrix: eigenvalues below 0 are set to 0."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.maximum(values, 0)) @ vectors.T
