"""Compares distilled and independent networks on one statistic.

``dist`` and ``ind`` are values of networks that differ in their seed; D and I are their means and
T is the target (what perfect inheritance would give):

    diff = D - I          gap = T - I          gap closed = diff / gap
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kdpipe.results.bootstrap import nanmean_replicates

Array = NDArray[np.float64]


class Term(NamedTuple):
    """One source of variation: its covariance matrix of (diff, gap), (2, 2), and its df."""

    covariance: Array
    df: float


class Pairing(NamedTuple):
    """Seeds of both sides, (K_d,) and (K_i,), where student k is paired with independent k.

    Two such students share their start, the order of images and every other draw, so that their
    values are correlated.
    """

    dist: NDArray[np.int64]
    ind: NDArray[np.int64]

    def of(self, known_dist: NDArray[np.bool_], known_ind: NDArray[np.bool_]) -> Pairing:
        """The seeds that have a value."""
        return Pairing(self.dist[known_dist], self.ind[known_ind])


@dataclass(frozen=True)
class Comparison:
    """Distilled and independent networks on one statistic.

    ``dist`` (K_d,) and ``ind`` (K_i,): a value for each seed. ``target``: NaN where there is
    none. ``unit``: variation due to the units, None where it cannot be estimated (one unit, or a
    set statistic without replicates). ``n_units``: how many units a value is of; None where it is
    of none, such as a distance between weights. ``discordant``: with one network a side and binary
    outcomes, the number of units on which only the distilled, only the independent one has 1.
    ``pairing``: the seeds of both sides where they are paired, else None.
    """

    dist: Array
    ind: Array
    target: float
    unit: Term | None
    n_units: int | None
    discordant: tuple[int, int] | None = None
    pairing: Pairing | None = None

    @property
    def scope(self) -> Literal["method", "networks"]:
        """About the method, or with one seed on either side about these networks only."""
        return "method" if min(len(self.dist), len(self.ind)) >= 2 else "networks"

    @property
    def diff(self) -> float:
        """What distillation changed, in the unit of the statistic."""
        return mean(self.dist) - mean(self.ind)

    @property
    def gap(self) -> float:
        """What there is to inherit; NaN without a target."""
        return self.target - mean(self.ind)

    @property
    def by_seed(self) -> Array | None:
        """Values of ``dist`` and ``ind``, (2, K), seed by seed; None where they are not paired or
        one side has a seed that the other lacks.

        No value is left out to make the sides equal: means and variances are of the same networks.
        """
        if self.pairing is None:
            return None
        of_dist, of_ind = (np.argsort(seeds) for seeds in self.pairing)
        if not np.array_equal(self.pairing.dist[of_dist], self.pairing.ind[of_ind]):
            return None
        return np.stack([self.dist[of_dist], self.ind[of_ind]])


def mean(values: Array) -> float:
    """Mean of the values that are not NaN; NaN when there are none."""
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else float("nan")


def std(values: Array) -> float:
    """Standard deviation between seeds (n - 1 in the denominator); NaN for fewer than two."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")


def from_units(
    dist: Array,
    ind: Array,
    target: Array | float | None = None,
    pairing: Pairing | None = None,
) -> Comparison:
    """Compare statistics that are means over units.

    ``dist`` (K_d, n), ``ind`` (K_i, n): outcomes by seed and unit, NaN where a unit does not
    count. ``target``: the teacher's outcomes (n,), a constant, or None. Seeds without any
    outcome are left out, and so are units without any. Where the networks then still differ in
    which units count, the unit term is a bootstrap over units instead of the closed form.
    """
    known_d, known_i = _has_outcomes(dist), _has_outcomes(ind)
    dist, ind = dist[known_d], ind[known_i]
    if isinstance(target, np.ndarray):
        teacher, value = np.atleast_2d(target), mean(target)
        teacher = teacher[_has_outcomes(teacher)]
    else:
        teacher, value = np.empty((0, dist.shape[1])), np.nan if target is None else target
    students = np.concatenate([dist, ind])
    counted = np.isfinite(students).any(axis=0)
    networks = np.concatenate([students, teacher])
    networks = networks[:, np.isfinite(networks).any(axis=0)]
    n = networks.shape[1]
    complete = bool(np.isfinite(networks).all())
    per_unit = networks if complete or n < 2 else nanmean_replicates(networks)
    of_dist, of_ind, of_teacher = np.split(per_unit, [len(dist), len(students)])
    errors = _errors(of_dist, of_ind, of_teacher[0] if len(teacher) else None)
    return Comparison(
        dist=np.array([mean(row) for row in dist]),
        ind=np.array([mean(row) for row in ind]),
        target=value,
        unit=_unit_term(errors, divisor=n if complete else 1, df=n - 1) if n > 1 else None,
        n_units=int(counted.sum()),
        discordant=_discordant(dist[:, counted], ind[:, counted]),
        pairing=pairing.of(known_d, known_i) if pairing else None,
    )


def from_replicates(
    dist: Array,
    ind: Array,
    target: float,
    dist_replicates: Array,
    ind_replicates: Array,
    target_replicates: Array | None = None,
    n_units: int | None = None,
    pairing: Pairing | None = None,
) -> Comparison:
    """Compare statistics of whole image sets, given their bootstrap replicates.

    ``dist`` (K_d,), ``ind`` (K_i,): the statistic by seed; ``*_replicates`` (K_d, B), (K_i, B),
    (B,): the statistic on resample b of the images, the same images for every network. A target
    without replicates is a constant. B may be 0: then only the seeds give a variance. ``n_units``:
    how many images the statistic is of, None where it is of none.
    """
    known_d, known_i = np.isfinite(dist), np.isfinite(ind)
    errors = _errors(dist_replicates[known_d], ind_replicates[known_i], target_replicates)
    count = int(np.isfinite(errors).all(axis=0).sum())
    return Comparison(
        dist=dist[known_d],
        ind=ind[known_i],
        target=target,
        unit=_unit_term(errors, divisor=1, df=count - 1) if count > 1 else None,
        n_units=n_units,
        pairing=pairing.of(known_d, known_i) if pairing else None,
    )


def _has_outcomes(values: Array) -> NDArray[np.bool_]:
    """Which rows of (K, n) are not NaN throughout, (K,)."""
    return np.asarray(np.isfinite(values).any(axis=1))


def _errors(dist: Array, ind: Array, target: Array | None) -> Array:
    """(2, n): mean of dist minus mean of ind, and target minus mean of ind, per unit.

    A constant target does not vary, so 0 stands for it. So it does for the mean of a side
    without networks, where what depends on it is NaN anyway.
    """
    d = dist.mean(axis=0) if len(dist) else np.zeros(dist.shape[1])
    i = ind.mean(axis=0) if len(ind) else np.zeros(ind.shape[1])
    return np.stack([d - i, -i if target is None else target - i])


def _unit_term(errors: Array, divisor: int, df: float) -> Term | None:
    errors = errors[:, np.isfinite(errors).all(axis=0)]
    return Term(np.cov(errors) / divisor, df) if errors.shape[1] > 1 else None


def _discordant(dist: Array, ind: Array) -> tuple[int, int] | None:
    both = np.concatenate([dist, ind])
    if len(dist) != 1 or len(ind) != 1 or not np.isin(both, (0, 1)).all():
        return None
    return int((dist > ind).sum()), int((ind > dist).sum())
