"""Flips against independent students: on which units is a student higher, on which lower?

Of outcomes that are 1 (right) and 0 (wrong) these are positive and negative flips (Yan et al. 2020)
where the student replaces an independent one. What two independent students flip is what a new seed
does by itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kdpipe.results.comparison import Array


def flip_rates(values: Array, rivals: Array, skipped: Sequence[int | None]) -> tuple[Array, Array]:
    """Share of the rivals than which a network is higher, and lower, by network and unit, (K, n).

    ``values``: (K, n); ``rivals``: (K_i, n); NaN where a unit does not count. ``skipped``: for each
    network the rival that it is not compared with: itself, or the one that shares its start and
    draws, which would be closer than a new seed is. NaN where no rival is left. Higher − lower is
    the mean difference for outcomes of 0 and 1.
    """
    higher, lower = np.full_like(values, np.nan), np.full_like(values, np.nan)
    for k, (own, left_out) in enumerate(zip(values, skipped, strict=True)):
        others = rivals if left_out is None else np.delete(rivals, left_out, axis=0)
        known = np.isfinite(others) & np.isfinite(own)
        counts = known.sum(axis=0)
        for found, flipped in ((higher, own > others), (lower, own < others)):
            total = (flipped & known).sum(axis=0)
            np.divide(total, counts, out=found[k], where=counts > 0)
    return higher, lower
