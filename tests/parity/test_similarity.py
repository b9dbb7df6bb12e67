"""Neighbours, Procrustes, RSA and ranks of maps against scipy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree
from scipy.spatial import procrustes as scipy_procrustes
from scipy.spatial.distance import pdist, squareform
from scipy.stats import rankdata, spearmanr

from kdpipe.probes.cka import BESIDE, beside, gram
from kdpipe.probes.localization import rank_correlation, top_overlap
from kdpipe.probes.shared.similarity import (
    mutual_neighbours,
    procrustes,
    ranks,
    rsa,
    spearman,
    squared_distances,
)


def features(seed, n=40, d=7, shared=1.0):
    """Two representations (n, d) and (n, d + 3) that share a part."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=(n, 4))
    return [
        shared * common @ rng.normal(size=(4, k)) + rng.normal(size=(n, k)) + 5 for k in (d, d + 3)
    ]


def kernels(one, two):
    return [gram([torch.from_numpy(x)]) for x in (one, two)]


@pytest.mark.parametrize("seed", range(3))
def test_distances_are_those_of_scipy(seed):
    one, _ = features(seed)
    kernel, _ = kernels(one, one)
    assert np.sqrt(squared_distances(kernel)) == pytest.approx(squareform(pdist(one)), abs=1e-6)


@pytest.mark.parametrize("neighbours", [1, 5, 10])
@pytest.mark.parametrize("seed", range(2))
def test_mutual_neighbours_are_those_of_a_tree(seed, neighbours):
    one, two = features(seed)
    near = [cKDTree(x).query(x, neighbours + 1)[1][:, 1:] for x in (one, two)]
    expected = np.mean([len({*a} & {*b}) / neighbours for a, b in zip(*near, strict=True)])
    ours = mutual_neighbours(*kernels(one, two), neighbours)
    assert ours == pytest.approx(expected, abs=1e-12)
    assert 0 < ours < 0.9


@pytest.mark.parametrize("seed", range(3))
def test_procrustes_is_that_of_scipy(seed):
    one, two = features(seed)
    padded = np.pad(one, ((0, 0), (0, two.shape[1] - one.shape[1])))
    disparity = scipy_procrustes(padded, two)[2]
    ours = procrustes(*kernels(one, two))
    assert ours == pytest.approx(np.sqrt(1 - disparity), abs=1e-9)
    assert 0.1 < ours < 0.95


@pytest.mark.parametrize("seed", range(3))
def test_rsa_is_spearmans_correlation_of_all_distances(seed):
    one, two = features(seed)
    expected = spearmanr(pdist(one), pdist(two)).statistic
    assert rsa(*kernels(one, two)) == pytest.approx(expected, abs=1e-9)
    assert abs(expected) > 0.02


def test_ranks_and_their_correlation_are_those_of_scipy():
    rng = np.random.default_rng(0)
    one, two = rng.integers(0, 6, (2, 5, 30)).astype(float)
    np.testing.assert_array_equal(ranks(one), rankdata(one, axis=-1))
    expected = [spearmanr(a, b).statistic for a, b in zip(one, two, strict=True)]
    assert spearman(one, two) == pytest.approx(expected, abs=1e-12)
    one[2] = 4
    assert np.isnan(spearman(one, two)).tolist() == [False, False, True, False, False]


@pytest.mark.parametrize("metric", BESIDE)
def test_rotated_and_scaled_features_are_alike_and_other_ones_less(metric):
    one, two = features(4)
    turn, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(7, 7)))
    assert beside(metric, *kernels(one, 3 * one @ turn)) == pytest.approx(1, abs=1e-9)
    related, unrelated = (
        beside(metric, *kernels(*features(6, n=60, shared=s))) for s in (4.0, 0.0)
    )
    assert unrelated < related - 0.2
    assert beside(metric, *kernels(two, one)) == pytest.approx(
        beside(metric, *kernels(one, two)), abs=1e-9
    )


@pytest.mark.parametrize("metric", BESIDE)
def test_a_constant_representation_has_no_similarity(metric):
    one, _ = features(5)
    assert np.isnan(beside(metric, *kernels(one, np.full((40, 3), 0.1))))


def test_few_images_have_fewer_neighbours():
    one, two = features(2, n=9)
    near = [cKDTree(x).query(x, 5)[1][:, 1:] for x in (one, two)]
    expected = np.mean([len({*a} & {*b}) / 4 for a, b in zip(*near, strict=True)])
    assert mutual_neighbours(*kernels(one, two)) == pytest.approx(expected, abs=1e-12)


def maps(seed, n=6, side=7):
    rng = np.random.default_rng(seed)
    one = rng.random((n, side, side))
    two = np.where(rng.random((n, side, side)) < 0.5, one, rng.random((n, side, side)))
    return np.where(one < 0.3, 0.0, one), two


@pytest.mark.parametrize("seed", range(3))
def test_rank_correlation_and_top_fifth_of_maps(seed):
    one, two = maps(seed)
    expected = [spearmanr(a.ravel(), b.ravel()).statistic for a, b in zip(one, two, strict=True)]
    assert rank_correlation(one, two) == pytest.approx(expected, abs=1e-12)
    overlap = []
    for a, b in zip(one, two, strict=True):
        top = [{*sorted(range(49), key=lambda i, m=m: -m.ravel()[i])[:10]} for m in (a, b)]
        overlap.append(len(top[0] & top[1]) / 10)
    assert top_overlap(one, two) == pytest.approx(overlap, abs=1e-12)
    assert 0.2 < np.mean(overlap) < 0.95


def test_a_map_is_like_itself_and_a_zero_map_like_none():
    one, two = maps(3)
    assert rank_correlation(one, one) == pytest.approx(1)
    assert top_overlap(one, one).tolist() == [1] * 6
    two[1] = 0
    assert np.isnan(top_overlap(one, two)).tolist() == [False, True] + [False] * 4
    assert np.isnan(rank_correlation(one, two)).tolist() == [False, True] + [False] * 4
    tiny = np.array([[[0.2, 0.9]]])
    assert top_overlap(tiny, tiny[..., ::-1]).tolist() == [0]
