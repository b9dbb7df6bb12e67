"""Bootstrap over units, for means of networks whose outcomes exist for different units."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

REPLICATES = 1000
SEED = 20230
_CELLS = 4_000_000
"""Maximum number of weights in memory."""


def nanmean_replicates(
    values: NDArray[np.float64], replicates: int = REPLICATES, seed: int = SEED
) -> NDArray[np.float64]:
    """Means of each network over resampled units.

    ``values``: (K, n), NaN where a unit does not count for a network. Result: (K, replicates);
    column b is the same resample for every network, so differences between rows stay paired.
    NaN where a resample holds no unit that counts.
    """
    rng = np.random.default_rng(seed)
    n = values.shape[1]
    counts = np.isfinite(values)
    # One product per chunk gives sums and counts of all networks together.
    columns = np.concatenate([np.where(counts, values, 0.0), counts]).T
    chunk = max(1, _CELLS // n)
    parts = []
    for start in range(0, replicates, chunk):
        rows = min(chunk, replicates - start)
        drawn = rng.integers(n, size=(rows, n)) + n * np.arange(rows)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n)
        parts.append(weights.astype(np.float64) @ columns)
    sums, sizes = np.split(np.concatenate(parts).T, 2)
    return np.divide(sums, sizes, out=np.full_like(sums, np.nan), where=sizes > 0)
