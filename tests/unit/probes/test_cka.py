"""CKA against its definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.small_bodies import ConvNet, scenes
from kdpipe.base.errors import KdpipeError
from kdpipe.probes.cka import CKA, CKAOptions, cka, hsic_biased, hsic_unbiased
from kdpipe.probes.cka import gram as gram_of_batches


def features(n, d, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d))


def gram(x):
    return gram_of_batches([torch.from_numpy(x)])


def frobenius_cka(x, y):
    """Kornblith et al. 2019, Sec. 3: ‖YᵀX‖² / (‖XᵀX‖·‖YᵀY‖) of centred features."""
    x, y = x - x.mean(0), y - y.mean(0)
    return np.linalg.norm(y.T @ x) ** 2 / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 9999), st.integers(4, 30), st.integers(1, 12), st.integers(1, 12))
def test_biased_cka_is_the_frobenius_form_of_centred_features(seed, n, d1, d2):
    x, y = features(n, d1, seed) + 3, features(n, d2, seed + 1)
    assert cka(gram(x), gram(y), False) == pytest.approx(frobenius_cka(x, y), rel=1e-9)


def test_unbiased_hsic_is_its_sum_over_distinct_indices():
    """Song et al. 2012, Eq. 4: means over all ordered tuples of distinct images."""
    n = 6
    k, m = gram(features(n, 3, 1)), gram(features(n, 2, 2))
    three = two = four = 0.0
    for i in range(n):
        for j in range(n):
            for q in range(n):
                for r in range(n):
                    if len({i, j, q, r}) == 4:
                        four += k[i, j] * m[q, r]
                if len({i, j, q}) == 3:
                    three += k[i, j] * m[i, q]
            if i != j:
                two += k[i, j] * m[i, j]
    pairs = n * (n - 1)
    expected = two / pairs + four / (pairs * (n - 2) * (n - 3)) - 2 * three / (pairs * (n - 2))
    assert hsic_unbiased(k, m) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("unbiased", [True, False])
def test_cka_ignores_rotation_scale_and_offset_but_not_content(unbiased):
    x = features(30, 6)
    turn, _ = np.linalg.qr(features(6, 6, 9))
    assert cka(gram(x), gram(4 * x @ turn + 2), unbiased) == pytest.approx(1)
    y = x + features(30, 6, 3)
    reference = cka(gram(x), gram(y), unbiased)
    assert 0 < reference < 0.95
    assert cka(gram(x), gram(0.1 * y @ turn - 5), unbiased) == pytest.approx(reference)


def test_only_the_unbiased_form_is_zero_for_independent_features():
    unbiased, biased = [], []
    for seed in range(20):
        k, m = gram(features(50, 200, 2 * seed)), gram(features(50, 200, 2 * seed + 1))
        unbiased.append(cka(k, m, True))
        biased.append(cka(k, m, False))
    assert abs(np.mean(unbiased)) < 0.01
    assert min(biased) > 0.7


def test_cka_of_a_constant_representation_is_undefined():
    assert np.isnan(cka(gram(np.zeros((8, 3))), gram(features(8, 3)), False))
    assert hsic_biased(gram(np.ones((8, 3))), gram(features(8, 3))) == pytest.approx(0)


def test_cka_probe_compares_the_layers_of_both_networks(kit):
    mine = kit.network(ConvNet(1), "relu", cka=("relu", "fc"))
    theirs = kit.network(ConvNet(2), "relu", cka=("conv", "relu", "fc"))
    bench = kit.bench(scenes(12), [0, 1, 2] * 4, mine, theirs)
    options = CKAOptions(set="tiny", domains=["grey"], limit=None, replicates=5)
    records = CKA(options).measure(bench)
    primary = [s for s in records.statistics if s.primary]
    where = "domain=grey;teacher_layer=relu;student_layer=relu"
    assert [(s.condition, s.metric) for s in primary] == [(where, "cka_unbiased")]
    assert len({s.condition for s in records.statistics}) == 6
    # The layer before the logits, from a forward pass written out here.
    images = bench.image_set(options, "grey").images
    with torch.no_grad():
        a, b = (net.body.conv(images).relu().flatten(1).numpy() for net in (mine, theirs))
    (biased,) = kit.values(records, "cka_biased", where, "image set")
    assert biased == pytest.approx(frobenius_cka(b, a), rel=1e-4)
    assert len(kit.values(records, "cka_unbiased", where, "replicate")) == 5
    assert np.isfinite(kit.values(records, "cka_unbiased", where, "replicate")).all()
    itself = CKA(options).measure(kit.bench(scenes(12), [0, 1, 2] * 4, mine, mine))
    assert kit.values(itself, "cka_unbiased", where, "replicate") == pytest.approx(1)


def test_cka_needs_enough_images_for_its_halves(kit):
    net = kit.network(ConvNet(1), "relu", cka=("relu", "fc"))
    bench = kit.bench(scenes(7), [0] * 7, net, net)
    with pytest.raises(KdpipeError, match="eight"):
        CKA(CKAOptions(set="tiny", domains=["grey"])).measure(bench)
