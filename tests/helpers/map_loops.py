"""Objectives on feature maps in plain Python, one number at a time.

Slow on purpose: what has no arrays cannot share a mistake about their axes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np


def window(i: int, new: int, old: int) -> range:
    """Places that adaptive pooling looks at for place i."""
    return range(i * old // new, -(-(i + 1) * old // new))


def pool(
    image: np.ndarray, height: int, width: int, how: Callable[..., float] = np.mean
) -> np.ndarray:
    """Maps (channels, h, w) of one image at another size."""
    found = np.empty((len(image), height, width))
    for c, i, j in np.ndindex(found.shape):
        rows, columns = window(i, height, image.shape[1]), window(j, width, image.shape[2])
        found[c, i, j] = how([image[c, a, b] for a in rows for b in columns])
    return found


def alike(
    own: np.ndarray, theirs: np.ndarray, how: Callable[..., float] = np.mean
) -> tuple[np.ndarray, np.ndarray]:
    """Maps of one image of two layers at the smaller of their sizes."""
    size = min(own.shape[1], theirs.shape[1]), min(own.shape[2], theirs.shape[2])
    return pool(own, *size, how), pool(theirs, *size, how)


def unit(values: Sequence[float]) -> list[float]:
    norm = max(math.sqrt(math.fsum(v * v for v in values)), 1e-12)
    return [v / norm for v in values]


def attention(image: np.ndarray, p: int, absolute: bool) -> list[float]:
    """q of one image: Σ_c |f|^p at each place, of length 1."""
    channels, height, width = image.shape
    sums = [
        math.fsum(
            (abs(image[c, i, j]) if absolute else image[c, i, j]) ** p for c in range(channels)
        )
        for i in range(height)
        for j in range(width)
    ]
    return unit(sums)


def at(own: np.ndarray, theirs: np.ndarray, p: int, absolute: bool, squared: bool) -> float:
    """Attention transfer of maps (n, channels, h, w) of one pair of layers."""
    total = 0.0
    for s, t in zip(own, theirs, strict=True):
        s, t = alike(s, t)
        far = [
            a - b for a, b in zip(attention(s, p, absolute), attention(t, p, absolute), strict=True)
        ]
        square = math.fsum(v * v for v in far)
        total += square / len(far) if squared else math.sqrt(square)
    return total / len(own)


def nst(own: np.ndarray, theirs: np.ndarray, power: int) -> float:
    """Squared MMD of the channels with the kernel (x·y)^power; mean over the images."""

    def kernel(xs: list[list[float]], ys: list[list[float]]) -> float:
        products = [math.fsum(a * b for a, b in zip(x, y, strict=True)) for x in xs for y in ys]
        return math.fsum(v**power for v in products) / len(products)

    total = 0.0
    for s, t in zip(own, theirs, strict=True):
        xs, ys = ([unit(list(c.flat)) for c in maps] for maps in alike(s, t))
        total += kernel(xs, xs) + kernel(ys, ys) - 2 * kernel(xs, ys)
    return total / len(own)


def flow(one: np.ndarray, following: np.ndarray, how: Callable[..., float]) -> np.ndarray:
    """G of one image: mean over the places of f_i·g_j."""
    f, g = alike(one, following, how)
    found = np.empty((len(f), len(g)))
    for i, j in np.ndindex(found.shape):
        products = [a * b for a, b in zip(f[i].flat, g[j].flat, strict=True)]
        found[i, j] = math.fsum(products) / len(products)
    return found


def fsp(
    own: Sequence[np.ndarray],
    theirs: Sequence[np.ndarray],
    how: Callable[..., float],
    reduction: str,
) -> float:
    """Distances of the flow matrices of neighbouring layers, summed; mean over the images."""
    n, total = len(own[0]), 0.0
    for k in range(len(own) - 1):
        for b in range(n):
            far = flow(own[k][b], own[k + 1][b], how) - flow(theirs[k][b], theirs[k + 1][b], how)
            squares = [[v * v for v in row] for row in far.tolist()]
            if reduction == "columns":
                columns = zip(*squares, strict=True)
                total += math.fsum(math.sqrt(math.fsum(column)) for column in columns)
            else:
                one = math.fsum(v for row in squares for v in row)
                total += one / far.size if reduction == "mean" else one
    return total / n


def vid(
    own: np.ndarray, theirs: np.ndarray, weights: Sequence[np.ndarray], variance: Sequence[float]
) -> float:
    """Mean of ½((t − μ)²/σ² + log σ²), μ by three linear maps of the channels with ReLU."""
    terms = []
    for s, t in zip(own, theirs, strict=True):
        s, t = alike(s, t)
        for i, j in np.ndindex(s.shape[1:]):
            x = [float(v) for v in s[:, i, j]]
            for k, w in enumerate(weights):
                x = [math.fsum(a * b for a, b in zip(row, x, strict=True)) for row in w]
                x = [max(v, 0.0) for v in x] if k < 2 else x
            for c, guess in enumerate(x):
                far = float(t[c, i, j]) - guess
                terms.append(0.5 * (far * far / variance[c] + math.log(variance[c])))
    return math.fsum(terms) / len(terms)


def hcl(own: np.ndarray, theirs: np.ndarray) -> float:
    """The hierarchical context loss of maps (n, channels, h, w)."""

    def mse(a: np.ndarray, b: np.ndarray) -> float:
        return math.fsum((x - y) ** 2 for x, y in zip(a.flat, b.flat, strict=True)) / a.size

    loss, weight, total = mse(own, theirs), 1.0, 1.0
    for size in (4, 2, 1):
        if size < own.shape[2]:
            weight /= 2
            a, b = (np.stack([pool(image, size, size) for image in x]) for x in (own, theirs))
            loss, total = loss + weight * mse(a, b), total + weight
    return loss / total
