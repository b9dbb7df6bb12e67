"""How many seeds or images would decide a claim that is undecided.

The rule of a verdict tests w·(diff, gap) = 0 for two contrasts w: (1, 0) asks for a difference, and
(1, -0.1) whether less than a tenth of the gap was closed (the upper end of Fieller's interval is
below 0.1 just when diff - 0.1 gap is significantly on the other side of 0). Given the
estimated variances, the estimate of a contrast is normal, and its critical value is known. The
chance of a verdict is the mean over what the variances are estimated as, which is computed by
quadrature. With one source of variance that is the noncentral t distribution; with several it
follows the degrees of freedom (Satterthwaite), which are estimated too.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, reduce
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr, roots_genlaguerre, stdtrit

from kdpipe.results import statistics as st
from kdpipe.results.comparison import Array, Comparison
from kdpipe.results.forecast import ENDLESS, Forecast

POWER = 0.8
"""Chance of a decision that is asked for."""
AT_MOST = 64
"""Seeds a side beyond which a study is not called sensible."""
MOST_UNITS = 10_000
"""Times the units of now beyond which no number is given."""
NODES = 12
"""Of the quadrature, in each direction."""
CERTAIN = 200
"""Degrees of freedom from which an estimated variance is taken for the true one."""


@dataclass(frozen=True)
class Rule:
    """What a claim has to pass. ``level``: of its test, ALPHA over the claims of its family, as if
    Holm's correction met its p-value first. ``min_gap``: the smallest gap that counts."""

    level: float
    min_gap: float


class Chances(NamedTuple):
    """Chance of each verdict, in [0, 1]; what is missing to 1 is no decision."""

    transferred: float
    opposite: float
    refuted: float
    """Not transferred."""

    @property
    def likely(self) -> tuple[float, st.Verdict]:
        """The likeliest of the three verdicts with its chance."""
        named: dict[st.Verdict, float] = {
            "transferred": self.transferred,
            "opposite": self.opposite,
            "not transferred": self.refuted,
        }
        verdict = max(named, key=named.__getitem__)
        return named[verdict], verdict


class Need(NamedTuple):
    """``seeds`` a side that decide with the asked chance, and the ``verdict`` that they give.

    ``seeds`` is None where none up to the limit do. Then ``units`` is the number of units with
    which the limit of seeds would decide, where the units forbid it with any number of seeds. Of
    single networks, ``units`` are those that decide about these networks.
    """

    seeds: int | None
    verdict: str
    units: int | None = None


def chances(f: Forecast, seeds: int, rule: Rule, share: float, more: float = 1.0) -> Chances:
    """Chance of each verdict of a new study with ``seeds`` a side and ``more`` times the units.

    ``share``: part of the gap that is truly closed; the gap is taken to be as estimated. A verdict
    also needs a gap whose interval excludes 0 and that is not below ``min_gap``: taken as
    independent of the test, which matters only where the gap is in doubt.
    """
    c = f.at(seeds, more)
    gap, sign = c.gap, np.sign(c.gap)
    tested = _Test(f, c, seeds, more)
    has_gap = max(tested((0, 1), gap, st.ALPHA)) * tested.beyond((0, 1), abs(gap) - rule.min_gap)
    down, up = tested((1, 0), share * gap * sign, rule.level)
    below, _ = tested((1, -st.EQUIVALENCE), (share - st.EQUIVALENCE) * abs(gap), st.ALPHA)
    # Who is significantly farther away than nothing closes less than a tenth as well.
    return Chances(up * has_gap, down * has_gap, max(0.0, below - down) * has_gap)


class _Test:
    """Chances of two-sided t tests of contrasts of (diff, gap)."""

    def __init__(self, f: Forecast, c: Comparison, seeds: int, more: float) -> None:
        self.terms = st.variance_terms(c)
        # The rule counts what seeds and units make together twice, once in each term.
        self.twice = f.mixed(seeds, seeds) / more

    def __call__(
        self, weights: tuple[float, float], mean: float, level: float
    ) -> tuple[float, float]:
        """Chance to be significantly below and above 0, with a true value of ``mean``."""
        error = self._error(weights)
        if not error > 0:
            return float(mean < 0), float(mean > 0)
        w = np.array(weights)
        parts = [(max(float(w @ t.covariance @ w), 0.0), t.df) for t in self.terms]
        variances, probability = _estimates(parts)
        total = variances.sum(axis=0)
        own = np.array([[df] for _, df in parts])
        df = 1 / ((variances / total) ** 2 / own).sum(axis=0)
        needed = stdtrit(df, 1 - level / 2) * np.sqrt(total)
        below, above = (ndtr((sign * mean - needed) / error) @ probability for sign in (-1, 1))
        return float(below), float(above)

    def beyond(self, weights: tuple[float, float], distance: float) -> float:
        """Chance that an estimate whose true value is ``distance`` above a limit is above it."""
        error = self._error(weights)
        return float(ndtr(distance / error)) if error > 0 else float(distance >= 0)

    def _error(self, weights: tuple[float, float]) -> float:
        """True standard error of a contrast."""
        w = np.array(weights)
        variance, _ = st.contrast(self.terms, weights)
        return float(np.sqrt(max(variance - w @ self.twice @ w, 0.0)))


def _estimates(parts: list[tuple[float, float]]) -> tuple[Array, Array]:
    """What variances (value, df) are estimated as: (terms, N) values and (N,) probabilities."""
    nodes = [_chi2(round(df)) for _, df in parts]
    grid = np.meshgrid(*(x for x, _ in nodes), indexing="ij")
    probability = reduce(np.multiply.outer, (p for _, p in nodes))
    values = [v * x.ravel() for (v, _), x in zip(parts, grid, strict=True)]
    return np.array(values), np.ravel(probability)


@cache
def _chi2(df: int) -> tuple[Array, Array]:
    """Values of a chi-square over its df, with their probabilities (Gauss and Laguerre)."""
    if df > CERTAIN:
        return np.ones(1), np.ones(1)
    nodes, weights = roots_genlaguerre(NODES, df / 2 - 1)
    return 2 * nodes / df, weights / weights.sum()


def need(f: Forecast, rule: Rule, share: float, at_most: int = AT_MOST) -> Need:
    """The smallest number of seeds a side, more than now, that decides with the chance ``POWER``
    if ``share`` of the gap is truly closed."""

    def chance(seeds: int, more: float = 1.0) -> tuple[float, str]:
        return chances(f, seeds, rule, share, more).likely

    reached, verdict = chance(at_most)
    if f.now.scope == "method" and reached >= POWER:
        low, high = f.seeds, at_most
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if chance(middle)[0] >= POWER else (middle, high)
        return Need(high, chance(high)[1])
    forbidden = chance(ENDLESS)[0] < POWER and f.now.n_units is not None
    return Need(None, verdict, _units(f, rule, share, at_most) if forbidden else None)


def _units(f: Forecast, rule: Rule, share: float, seeds: int) -> int | None:
    """Units with which ``seeds`` a side decide; None for more than ``MOST_UNITS`` times as many."""
    if chances(f, seeds, rule, share, MOST_UNITS).likely[0] < POWER:
        return None
    low, high = 1.0, float(MOST_UNITS)
    while high / low > 1.01:
        middle = float(np.sqrt(low * high))
        enough = chances(f, seeds, rule, share, middle).likely[0] >= POWER
        low, high = (low, middle) if enough else (middle, high)
    return int(np.ceil(high * (f.now.n_units or 0)))
