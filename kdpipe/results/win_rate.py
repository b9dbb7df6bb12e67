"""Win rate: how often a student's value exceeds an independent student's on the same unit.

This is the paper's score of localisation: the share of images on which the distilled student's
map is closer to the teacher's than an independent student's. A tie counts one half.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def wins(a: Array, b: Array) -> Array:
    """1 where a > b, 1/2 where a = b, 0 where a < b, NaN where either is NaN."""
    missing = np.isnan(a) | np.isnan(b)
    return np.where(missing, np.nan, (a > b) + 0.5 * (a == b))


def win_rates(values: Array, rivals: Array | None) -> Array:
    """Win rate of each network and unit over the rivals, (K, n).

    ``values``: (K, n) by network and unit; ``rivals``: (K_i, n). None stands for the other rows
    of ``values``: each unit's mean over the K rows is then 1/2. A network without others ties
    with itself.
    """
    rates = np.empty_like(values)
    for k, own in enumerate(values):
        if rivals is not None:
            others = rivals
        else:
            others = np.delete(values, k, axis=0) if len(values) > 1 else values
        each = wins(own, others)
        counts = np.isfinite(each).sum(axis=0)
        total = np.nansum(each, axis=0)
        rates[k] = np.divide(total, counts, out=np.full_like(total, np.nan), where=counts > 0)
    return rates
