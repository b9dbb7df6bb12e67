"""Softmax, cross-entropy and KL in plain Python, one image and one class at a time.

Slow on purpose: what has no arrays cannot share a mistake about their axes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

Rows = Sequence[Sequence[float]] | np.ndarray


def log_softmax(row: Sequence[float], temperature: float = 1.0) -> list[float]:
    scaled = [float(v) / temperature for v in row]
    top = max(scaled)
    total = math.log(math.fsum(math.exp(v - top) for v in scaled))
    return [v - top - total for v in scaled]


def cross_entropy(logits: Rows, labels: Sequence[int]) -> float:
    """Mean of −log σ(z)_y over the images."""
    losses = [-log_softmax(row)[int(y)] for row, y in zip(logits, labels, strict=True)]
    return math.fsum(losses) / len(losses)


def divergence(log_p: Sequence[float], log_q: Sequence[float]) -> float:
    """KL(p ‖ q) = Σ p·(log p − log q)."""
    return math.fsum(math.exp(a) * (a - b) for a, b in zip(log_p, log_q, strict=True))


def tempered_kl(teacher: Rows, student: Rows, tau: float) -> float:
    """τ²·KL(σ(z_t/τ) ‖ σ(z_s/τ)), mean over the images."""
    found = [
        divergence(log_softmax(t, tau), log_softmax(s, tau))
        for t, s in zip(teacher, student, strict=True)
    ]
    return tau**2 * math.fsum(found) / len(found)


def entropy(row: Sequence[float], tau: float) -> float:
    return -math.fsum(math.exp(v) * v for v in log_softmax(row, tau))


def slope(f: Callable[[np.ndarray], float], at: np.ndarray, step: float = 1e-5) -> np.ndarray:
    """Gradient of ``f`` by central differences, one coordinate at a time."""
    found = np.empty_like(at)
    for place in np.ndindex(at.shape):
        up, down = at.copy(), at.copy()
        up[place] += step
        down[place] -= step
        found[place] = (f(up) - f(down)) / (2 * step)
    return found
