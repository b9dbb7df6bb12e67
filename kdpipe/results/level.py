"""How well one statistic of the students of a method is known, without any comparison.

Of one student the images vary, of several students of a method their seeds as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq
from scipy.special import betaincinv, stdtrit

from kdpipe.results.collect import SET, Outcome, aligned
from kdpipe.results.comparison import Term, from_replicates, from_units, mean
from kdpipe.results.statistics import ALPHA, contrast, interval

_MOST = 1e12
"""More images than this are no advice."""


class Level(NamedTuple):
    """The mean of a statistic over the networks of a method, with its interval of 95 %.

    ``low``, ``high``: NaN where one network and one image, or a statistic without resamples, say
    nothing about how far it varies. ``n``: units behind it, None where it is of none.
    ``networks``: how many have a value. ``binary``: the interval is exact, from Clopper and
    Pearson. ``seed_variance``, ``unit_variance``: of the mean; ``df``: of both together.
    """

    value: float
    low: float
    high: float
    n: int | None
    networks: int
    binary: bool = False
    seed_variance: float = 0.0
    unit_variance: float = float("nan")
    df: float = float("nan")

    def units_for(self, bound: float) -> int | None:
        """About how many units would tell on which side of ``bound`` the value is, if it stays.

        None where no number of units would: the value is the bound, the seeds alone vary too
        much, or nothing is known about how it varies.
        """
        distance = abs(self.value - bound)
        if self.n is None or not np.isfinite(distance) or distance == 0:
            return None
        if self.binary:
            return _exact_units(self.value, bound)
        half = distance / float(stdtrit(self.df, 1 - ALPHA / 2))
        left = half**2 - self.seed_variance  # for the images
        if not left > 0 or not np.isfinite(self.unit_variance):
            return None
        return int(np.ceil(max(self.n * self.unit_variance / left, 1)))


def level(outcomes: Sequence[Outcome]) -> Level:
    """The mean over networks of one method, from their outcomes by unit.

    The variance is s²_seeds/K + s²_unit/n, as of a difference. Of one network with outcomes 0 and
    1, or of several with nothing that varies, the interval is Clopper and Pearson's.
    """
    values = np.array([outcome.value for outcome in outcomes])
    known = values[np.isfinite(values)]
    value, count = mean(values), len(known)
    rows = aligned(outcomes) if outcomes else np.empty((0, 0))
    if not count:
        return Level(value, np.nan, np.nan, 0, 0)
    if outcomes[0].unit == SET:
        resampled = aligned(outcomes, replicates=True)
        none = np.empty((0, resampled.shape[1]))
        sizes = [o.n for o in outcomes if o.n is not None]
        n = min(sizes) if sizes else None
        unit = from_replicates(values, np.empty(0), np.nan, resampled, none, n_units=n).unit
    else:
        compared = from_units(rows, np.empty((0, rows.shape[1])))
        unit, n = compared.unit, compared.n_units
    terms = [unit] if unit is not None else []
    seeds = float(np.var(known, ddof=1)) / count if count > 1 else 0.0
    if count > 1:
        terms.append(Term(seeds * np.array([[1.0, 0.0], [0.0, 0.0]]), count - 1))
    variance, df = contrast(terms, (1, 0))
    counted = rows[np.isfinite(rows)]
    shares = outcomes[0].unit != SET and bool(np.isin(counted, (0, 1)).all())
    if n and shares and (count == 1 or variance == 0):
        return Level(value, *clopper_pearson(value, n), n, count, binary=True)
    low, high, _ = interval(value, variance, df)
    images = float(unit.covariance[0, 0]) if unit is not None else float("nan")
    return Level(value, low, high, n, count, False, seeds, images, df)


def clopper_pearson(share: float, n: float) -> tuple[float, float]:
    """The exact interval of 95 % for ``share`` of ``n`` independent outcomes (Clopper and Pearson
    1934); ``n`` need not be whole."""
    k = share * n
    low = float(betaincinv(k, n - k + 1, ALPHA / 2)) if k > 0 else 0.0
    high = float(betaincinv(k + 1, n - k, 1 - ALPHA / 2)) if share < 1 else 1.0
    return low, high


def _exact_units(share: float, bound: float) -> int | None:
    """From how many outcomes on the exact interval around ``share`` leaves out ``bound``."""

    def beyond(log_n: float) -> float:
        low, high = clopper_pearson(share, float(np.exp(log_n)))
        return bound - high if bound > share else low - bound

    if beyond(0.0) >= 0:
        return 1
    if beyond(float(np.log(_MOST))) < 0:
        return None
    return int(np.ceil(np.exp(brentq(beyond, 0.0, float(np.log(_MOST)), xtol=1e-9))))
