"""Confidence intervals, p-values and verdicts of differences between students.

Two things vary: the seed a student was trained with, and the units (images) it was measured on.
Both enter as covariance matrices of (diff, gap), which share the independents: ``variance_terms``
is the one place that says so, and every interval and p-value is made from it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
from scipy.optimize import brentq
from scipy.special import bdtr, betaincinv, stdtr, stdtrit

from kdpipe.results.comparison import Comparison, Term
from kdpipe.results.reasons import EQUIVALENCE as EQUIVALENCE
from kdpipe.results.reasons import NOT_MEASURABLE, SMALL

Verdict = Literal["no gap", "transferred", "opposite", "not transferred", "inconclusive"]
SeedTerm = Literal["paired", "separate", "none"]
"""How the variation between seeds enters: one term of differences seed by seed, one term for each
side, or not at all."""

ALPHA = 0.05
MIN_PAIRED_SEEDS = 5
"""Fewest seeds from which differences seed by seed are used.

Fixed before any data, by simulation over correlations of -0.3 to 0.8
(``benchmarks/paired_students.py``): intervals of 95 % cover at least 94.0 % with five seeds, but as
little as 93.5 % with four, where a term of the images makes Satterthwaite's df too many.
"""
_TINY = 1e-12
"""A standard error below this is rounding: all values are equal."""


class Interval(NamedTuple):
    """A confidence interval and the p-value of "the true value is 0"; NaN where unknown."""

    low: float
    high: float
    p: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the value is known to differ from 0; False where the interval is unknown."""
        return self.low > 0 or self.high < 0


UNKNOWN = Interval(np.nan, np.nan, np.nan)


def seed_term(c: Comparison) -> SeedTerm:
    """Which form the seeds' variation takes. It depends on the seeds alone, never on values."""
    if c.scope != "method":
        return "none"
    paired = c.by_seed is not None and len(c.dist) >= MIN_PAIRED_SEEDS
    return "paired" if paired else "separate"


def variance_terms(c: Comparison) -> list[Term]:
    """What makes (diff, gap) uncertain, as matrices: s2_seeds + s2_unit/n.

    Of paired students, s2_seeds is the covariance of (dist_k - ind_k, target - ind_k) over the
    seeds k, divided by K, with K - 1 df: what the two students of a seed share cancels.
    Otherwise it is s2_dist/K_d + s2_ind/K_i, two terms: the seeds of the distilled students move
    diff alone; those of the independent ones move diff and gap together. Networks that nobody drew
    from a method have no seed terms.
    """
    terms = []
    form = seed_term(c)
    if form == "paired" and c.by_seed is not None:
        dist, ind = c.by_seed
        # The target is the same for all seeds, so that it adds nothing to a covariance.
        terms.append(Term(np.cov([dist - ind, -ind]) / len(dist), len(dist) - 1))
    elif form == "separate":
        k_d, k_i = len(c.dist), len(c.ind)
        terms.append(Term(np.var(c.dist, ddof=1) / k_d * np.array([[1.0, 0], [0, 0]]), k_d - 1))
        terms.append(Term(np.var(c.ind, ddof=1) / k_i * np.ones((2, 2)), k_i - 1))
    if c.unit is not None:
        terms.append(c.unit)
    return terms


def contrast(terms: Sequence[Term], weights: tuple[float, float]) -> tuple[float, float]:
    """Variance and Satterthwaite degrees of freedom of w0*diff + w1*gap; NaN without terms."""
    w = np.array(weights)
    parts = [(max(float(w @ term.covariance @ w), 0.0), term.df) for term in terms]
    total = sum(v for v, _ in parts)
    if not parts:
        return float("nan"), float("nan")
    if total == 0:
        return 0.0, min(df for _, df in parts)
    # Shares first: the square of a very small variance would underflow.
    return total, 1 / sum((v / total) ** 2 / df for v, df in parts)


def interval(value: float, variance: float, df: float, level: float = ALPHA) -> Interval:
    """Confidence interval of 1 - ``level`` and p-value of ``value`` from one t distribution.

    With no variance at all the interval is the value, and p is 1 for a value of 0 and else 0.
    """
    if not (np.isfinite(value) and np.isfinite(variance)):
        return UNKNOWN
    se = float(np.sqrt(variance))
    if se <= _TINY:
        return Interval(value, value, 1.0 if abs(value) <= _TINY else 0.0)
    half = float(stdtrit(df, 1 - level / 2)) * se
    return Interval(value - half, value + half, min(1.0, 2 * float(stdtr(df, -abs(value) / se))))


def diff_interval(c: Comparison, level: float = ALPHA) -> Interval:
    """Interval of 1 - ``level`` and p of diff; for two networks with binary outcomes from the exact
    McNemar test, always at ALPHA."""
    if c.discordant is not None and c.n_units is not None:
        return mcnemar(*c.discordant, c.n_units)
    return interval(c.diff, *contrast(variance_terms(c), (1, 0)), level)


def gap_interval(c: Comparison, level: float = ALPHA) -> Interval:
    """Interval of 1 - ``level`` and p of gap; unknown (NaN) without a target."""
    return interval(c.gap, *contrast(variance_terms(c), (0, 1)), level)


def closed_interval(c: Comparison, level: float = ALPHA) -> tuple[float, float]:
    """Fieller's interval of 1 - ``level`` for diff / gap: the shares r for which diff - r*gap may
    be 0.

    Degrees of freedom are those of diff - r*gap, so that the interval contains 0 just when
    that of diff does and is bounded when that of gap excludes 0. As they change with r, such
    shares need not be neighbours (seen with two seeds a side): the interval holds those around
    diff / gap and reaches to 0 where 0 is one of them. NaN where it is not bounded. Two networks
    with binary outcomes get the t distribution here too; only diff has an exact test.
    """
    terms = variance_terms(c)
    diff, gap = c.diff, c.gap
    if not terms or not np.isfinite(diff + gap) or gap == 0:
        return float("nan"), float("nan")
    share = diff / gap

    def excess(r: float) -> float:
        """Negative where r is in the interval."""
        variance, df = contrast(terms, (1, -r))
        return abs(diff - r * gap) - float(stdtrit(df, 1 - level / 2) * np.sqrt(variance))

    low, high = _crossing(excess, share, -1), _crossing(excess, share, 1)
    if excess(0.0) <= 0:
        low = _crossing(excess, 0.0, -1) if low > 0 else low
        high = _crossing(excess, 0.0, 1) if high < 0 else high
    return low, high


def mcnemar(only_dist: int, only_ind: int, n: int) -> Interval:
    """Exact McNemar test of two networks on ``n`` units with binary outcomes.

    The interval is that of Clopper and Pearson for the share of the distilled network among the
    units on which the two differ, times the frequency of such units: it excludes 0 exactly when
    p < 0.05. Without any such unit: (0, 0), p = 1.
    """
    m = only_dist + only_ind
    if m == 0:
        return Interval(0.0, 0.0, 1.0)
    p = min(1.0, 2 * float(bdtr(min(only_dist, only_ind), m, 0.5)))
    low = float(betaincinv(only_dist, only_ind + 1, ALPHA / 2)) if only_dist else 0.0
    high = float(betaincinv(only_dist + 1, only_ind, 1 - ALPHA / 2)) if only_ind else 1.0
    return Interval((2 * low - 1) * m / n, (2 * high - 1) * m / n, p)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values of one property's claims; NaN stays NaN and counts as no test."""
    p = np.array(p_values, dtype=np.float64)
    ranked = np.argsort(p)[: np.isfinite(p).sum()]  # NaN comes last
    factors = np.arange(len(ranked), 0, -1)
    p[ranked] = np.minimum(np.maximum.accumulate(p[ranked] * factors), 1.0)
    return [float(v) for v in p]


def no_gap(gap: float, of_gap: Interval, min_gap: float) -> str | None:
    """Why there is nothing to inherit; None for a gap beyond doubt and of a size that matters."""
    if not of_gap.excludes_zero:
        return NOT_MEASURABLE
    return None if abs(gap) >= min_gap else SMALL


def verdict(
    has_gap: bool, diff: float, gap: float, p_adjusted: float, closed_high: float
) -> Verdict:
    """The first rule that applies, in the order of the contract; NaN satisfies none."""
    if not has_gap:
        return "no gap"
    if p_adjusted < ALPHA:
        return "transferred" if diff * gap > 0 else "opposite"
    if closed_high < EQUIVALENCE:
        return "not transferred"
    return "inconclusive"


def _crossing(excess: Callable[[float], float], start: float, sign: int) -> float:
    """The point beyond ``start`` at which ``excess`` turns positive; NaN if it never does."""
    if excess(start) >= 0:
        return start
    step = 1e-6
    for _ in range(80):
        end = start + sign * step
        if excess(end) > 0:
            return float(brentq(excess, start, end, xtol=1e-12))
        step *= 2
    return float("nan")
