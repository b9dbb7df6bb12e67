"""Random numbers that depend on what they are for, never on what was drawn before.

Streams are keyed by words (role, model, pair, method, seed), so that a teacher and a student
never share an initialisation by accident. Per-image draws are counter based: the augmentation of
image i in epoch e is a function of (seed, e, i) alone, whatever the batch size or worker.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def stream(*key: str | float) -> int:
    """A 63-bit seed for the random stream named by ``key``."""
    digest = hashlib.sha256("\x1f".join(map(str, key)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def _mix(z: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64 (Steele, Lea & Flood 2014), a bijection of 64-bit words."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def uniforms(seed: int, counters: Any, draws: int) -> np.ndarray:
    """``draws`` uniform numbers in [0, 1) for each counter.

    ``counters``: integers (n,), an image's id for example. Returns float32 (n, draws); row i
    depends on ``seed`` and ``counters[i]`` only.
    """
    rows = _mix(np.asarray(counters).astype(np.uint64) * _GOLDEN + np.uint64(seed))
    with np.errstate(over="ignore"):
        words = _mix(rows[:, None] + _GOLDEN * (1 + np.arange(draws, dtype=np.uint64)))
    # 24 bits, because a float32 cannot hold more below 1.
    return ((words >> np.uint64(40)).astype(np.float32)) * np.float32(2.0**-24)


def ranks(seed: int, counters: Any) -> np.ndarray:
    """A random priority (uint64) per counter: sort by it for a permutation that is stable when
    items are added or removed."""
    return _mix(np.asarray(counters).astype(np.uint64) * _GOLDEN + np.uint64(seed))
