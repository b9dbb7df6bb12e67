"""Similarity of two representations of the same images, from their linear kernels.

A kernel (n, n) of centred features holds all distances between images, and everything else here:
rotating the features changes none of these measures. CKA is in ``cka.py``.
"""

from __future__ import annotations

import numpy as np

NEIGHBOURS = 10
"""k of the mutual neighbours, as in Huh et al. 2024."""


def squared_distances(kernel: np.ndarray) -> np.ndarray:
    """Squared Euclidean distances (n, n) of features whose kernel (n, n) is given."""
    own = np.diag(kernel)
    return np.maximum(own[:, None] + own[None, :] - 2 * kernel, 0.0)


def mutual_neighbours(k: np.ndarray, m: np.ndarray, neighbours: int = NEIGHBOURS) -> float:
    """Share of an image's nearest neighbours that both representations have in common, in [0, 1].

    Huh et al. 2024 (arXiv 2405.07987, App. A), mean over the images; by Euclidean distance, without
    the image itself, of equal distances those that come first. With fewer images than
    ``neighbours`` + 1, half of the others are neighbours. NaN where a representation is constant.
    """
    n = len(k)
    count = min(neighbours, max(1, (n - 1) // 2))
    near = []
    for kernel in (k, m):
        distances = squared_distances(kernel)
        if not distances.any():
            return float("nan")
        np.fill_diagonal(distances, np.inf)
        of_image = np.argsort(distances, axis=1, kind="stable")[:, :count]
        rows = np.zeros((n, n), dtype=bool)
        np.put_along_axis(rows, of_image, True, axis=1)
        near.append(rows)
    return float((near[0] & near[1]).sum() / (n * count))


def procrustes(k: np.ndarray, m: np.ndarray) -> float:
    """‖XᵀY‖_* / (‖X‖_F ‖Y‖_F) in [0, 1]: 1 minus half the squared Procrustes distance of centred
    features of norm 1 (Williams et al. 2021; Ding et al. 2021, Eq. 3).

    1 if a rotation and a scale turn one representation into the other; NaN where one is constant.
    """
    centred = [x - x.mean(0) - x.mean(1)[:, None] + x.mean() for x in (k, m)]
    norms = [float(np.trace(x)) for x in centred]
    if any(norm <= 0 for norm in norms):
        return float("nan")
    roots = []
    for x in centred:
        values, vectors = np.linalg.eigh(x)
        # The root of what rounding leaves of a zero would be 1e-8.
        values[values <= values[-1] * len(x) * np.finfo(np.float64).eps] = 0.0
        roots.append(vectors * np.sqrt(values))
    nuclear = np.linalg.svd(roots[0].T @ roots[1], compute_uv=False).sum()
    return float(nuclear / np.sqrt(norms[0] * norms[1]))


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks along the last axis, from 1; equal values share the mean of theirs."""
    order = np.argsort(values, axis=-1, kind="stable")
    ordered = np.take_along_axis(values, order, axis=-1)
    n = values.shape[-1]
    fresh = np.ones(values.shape, dtype=bool)
    fresh[..., 1:] = ordered[..., 1:] != ordered[..., :-1]
    first = np.maximum.accumulate(np.where(fresh, np.arange(n), 0), axis=-1)
    last_fresh = np.ones(values.shape, dtype=bool)
    last_fresh[..., :-1] = fresh[..., 1:]
    last = np.flip(
        np.minimum.accumulate(np.flip(np.where(last_fresh, np.arange(n), n), -1), axis=-1), -1
    )
    found = np.empty(values.shape)
    np.put_along_axis(found, order, (first + last) / 2 + 1.0, axis=-1)
    return found


def spearman(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """Spearman's rank correlation along the last axis, (…,) in [−1, 1]; NaN of a constant."""
    a, b = (r - r.mean(-1, keepdims=True) for r in (ranks(one), ranks(two)))
    norms = np.sqrt((a * a).sum(-1) * (b * b).sum(-1))
    return np.asarray((a * b).sum(-1) / np.where(norms > 0, norms, np.nan))


def rsa(k: np.ndarray, m: np.ndarray) -> float:
    """Representational similarity analysis (Kriegeskorte et al. 2008): Spearman's correlation of
    the distances between all pairs of images, in [−1, 1]; NaN where all are equal."""
    above = np.triu_indices(len(k), 1)
    one, two = (squared_distances(x)[above] for x in (k, m))
    return float(spearman(one, two))
