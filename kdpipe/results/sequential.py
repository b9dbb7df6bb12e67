"""Group-sequential tests: several looks at a study, with the error rate of one.

Who looks at growing data several times and tests at 5 % each time errs in more than 5 % of the
studies. An error spending function (Lan and DeMets, Biometrika 70, 1983) says how much of the level
may be used up until a share t of all data is there. The boundary of each look then follows from
the joint distribution of the statistics, which are Brownian motion at the times t (Jennison and
Turnbull, Group Sequential Methods, 2000, chapters 7 and 19).

Looks are at t = seeds of the look / seeds at most. Where a part of the variance does not fall with
the seeds (that of the images), the statistics of two looks are correlated more than these times
say, sqrt(I_j / I_k) with I = 1 / variance. By Slepian's inequality a boundary is then crossed no
more often: the test errs on the safe side. A test with estimated variances uses the nominal level
of the look for its t distribution in place of the normal one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri

from kdpipe.results.settings import Spending
from kdpipe.results.statistics import ALPHA

NODES = 160
"""Of the quadrature over the values at one look."""
FARTHEST = 9.0
"""Standard deviations beyond which nothing is integrated."""
SMALLEST = 1e-12
"""Repeated p-values below this are given as this."""


def spent(level: float, fraction: float, spending: Spending) -> float:
    """How much of a one-sided ``level`` may be used up at an information ``fraction`` in (0, 1].

    ``obrien-fleming``: 2 (1 - Phi(z / sqrt(t))) with z the quantile of 1 - level/2. ``pocock``:
    level * log(1 + (e - 1) t). Both are those of Lan and DeMets.
    """
    if spending == "pocock":
        return float(level * np.log1p((np.e - 1) * fraction))
    return float(2 * ndtr(ndtri(level / 2) / np.sqrt(fraction)))


def boundaries(fractions: Sequence[float], level: float, spending: Spending) -> list[float]:
    """The z above which each look rejects; one-sided, all looks together at ``level``."""
    found: list[float] = []
    walk = _Walk()
    used = 0.0
    for fraction in fractions:
        total = spent(level, fraction, spending)
        found.append(walk.boundary(fraction, total - used))
        walk.go_on(fraction, found[-1])
        used = total
    return found


def crossings(fractions: Sequence[float], bounds: Sequence[float]) -> list[float]:
    """Chance to exceed each of ``bounds`` (z values) first at its look, without an effect."""
    walk, found = _Walk(), []
    for fraction, bound in zip(fractions, bounds, strict=True):
        found.append(walk.crossing(fraction, bound))
        walk.go_on(fraction, bound)
    return found


class Design(NamedTuple):
    """When a study is looked at and how its error is spent: both fixed beforehand.

    ``fractions``: rising, the last is 1. Looks are numbered from 1. Levels and p-values are
    two-sided; a two-sided test is two one-sided ones, whose chance to reject both is not counted.
    """

    fractions: tuple[float, ...]
    spending: Spending = "obrien-fleming"

    def level(self, look: int, level: float = ALPHA) -> float:
        """The nominal level at ``look`` of a test at ``level``: that of its t test, and of its
        repeated confidence interval."""
        return _nominal(self, look, level)

    def p(self, look: int, p: float) -> float:
        """The repeated p-value of a test with the p-value ``p`` at ``look``.

        It is the smallest level at which the group-sequential test rejects at this look (Jennison
        and Turnbull, section 9.4), so that Holm's correction takes it as any other p-value. NaN
        stays NaN; with one look it is ``p``.
        """
        if len(self.fractions) == 1 or not np.isfinite(p) or p <= 0:
            return p
        if p >= self.level(look, 1.0):
            return 1.0
        if p <= self.level(look, SMALLEST):
            return SMALLEST

        def excess(log_level: float) -> float:
            return float(np.log(_nominal(self, look, float(np.exp(log_level))) / p))

        return float(np.exp(brentq(excess, np.log(SMALLEST), 0.0, xtol=1e-9)))


@lru_cache(maxsize=10_000)
def _nominal(design: Design, look: int, level: float) -> float:
    if len(design.fractions) == 1:
        return level
    bounds = boundaries(design.fractions[:look], level / 2, design.spending)
    return float(2 * ndtr(-bounds[-1]))


class _Walk:
    """Brownian motion that has not crossed a boundary yet, look by look.

    ``density``: of its value at the last look, at Gauss and Legendre ``nodes`` with ``weights``.
    """

    def __init__(self) -> None:
        self.time = 0.0
        self.nodes = np.zeros(1)
        self.mass = np.ones(1)

    def crossing(self, time: float, bound: float) -> float:
        """Chance to be above ``bound`` (a z value) at ``time``."""
        step = np.sqrt(time - self.time)
        return float(self.mass @ ndtr((self.nodes - bound * np.sqrt(time)) / step))

    def boundary(self, time: float, chance: float) -> float:
        """The z that is exceeded at ``time`` with this ``chance``."""

        def excess(z: float) -> float:
            return self.crossing(time, z) - chance

        return _root(excess, -FARTHEST, 4 * FARTHEST)

    def go_on(self, time: float, bound: float) -> None:
        """Go to ``time`` and end what is above ``bound``."""
        low, high = -FARTHEST * np.sqrt(time), min(bound, FARTHEST) * np.sqrt(time)
        x, w = _legendre(NODES)
        nodes = (high - low) / 2 * x + (high + low) / 2
        variance = time - self.time
        distance = nodes[:, None] - self.nodes[None, :]
        kernel = np.exp(-(distance**2) / (2 * variance)) / np.sqrt(2 * np.pi * variance)
        self.mass = (kernel @ self.mass) * w * (high - low) / 2
        self.nodes, self.time = nodes, time


@lru_cache(maxsize=4)
def _legendre(count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    x, w = np.polynomial.legendre.leggauss(count)
    return x, w


def _root(excess: Callable[[float], float], low: float, high: float) -> float:
    if excess(high) >= 0:  # so little may be spent that nothing reaches it
        return high
    return float(brentq(excess, low, high, xtol=1e-12))
