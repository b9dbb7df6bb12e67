"""Consensus and error consistency by hand and against Cohen's kappa."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from kdpipe.base.errors import KdpipeError
from kdpipe.probes.base import ProbeOptions
from kdpipe.probes.boundary import Boundary, BoundaryOptions
from kdpipe.probes.consensus import Consensus, ConsensusOptions, error_consistency


def options(cls=ProbeOptions, **given_options):
    return cls(**{"set": "tiny", "domains": ["grey"], **given_options})


def test_consensus_by_hand(kit):
    labels = [0, 1, 2, 0, 1]
    mine = [0, 1, 0, 2, 0]
    theirs = [0, 2, 0, 1, 1]
    bench = kit.bench(kit.numbered(5), labels, kit.decides(mine, 3), kit.decides(theirs, 3))
    records = Consensus(options(ConsensusOptions, replicates=7)).measure(bench)
    assert kit.values(records, "consensus").tolist() == [1, 0, 1, 0, 0]
    wrong = kit.values(records, "consensus_teacher_wrong")
    np.testing.assert_array_equal(wrong, [np.nan, 0, 1, 0, np.nan])
    # Right: mine 1 1 0 0 0, theirs 1 0 0 0 1: observed 3/5, expected 2/5·2/5 + 3/5·3/5 = 13/25.
    (kappa,) = kit.values(records, "error_consistency", unit="image set")
    assert kappa == pytest.approx((3 / 5 - 13 / 25) / (1 - 13 / 25))
    assert len(kit.values(records, "error_consistency", unit="replicate")) == 7


def test_networks_are_compared_on_the_same_resamples(kit):
    """Error consistency of a network with itself is 1 on every resample with both outcomes."""
    same = kit.decides([0, 1, 0, 1, 1, 0], 3)
    bench = kit.bench(kit.numbered(6), [0, 1, 1, 1, 0, 0], same, same)
    records = Consensus(options(ConsensusOptions, replicates=50)).measure(bench)
    resampled = kit.values(records, "error_consistency", unit="replicate")
    finite = resampled[np.isfinite(resampled)]
    assert len(finite) > 30
    assert finite == pytest.approx(1)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=30))
def test_error_consistency_is_cohens_kappa(pairs):
    one, two = np.array(pairs).T
    ours = float(error_consistency(one, two))
    if np.concatenate([one, two]).std() == 0:  # both always right, or both always wrong
        assert math.isnan(ours)
    else:
        assert ours == pytest.approx(cohen_kappa_score(one, two), abs=1e-12)


@pytest.mark.parametrize(("told", "value"), [({}, np.nan), ({"without_errors": "one"}, 1.0)])
@pytest.mark.parametrize("answers", [[0, 1, 2, 0], [1, 2, 0, 1]], ids=["all right", "all wrong"])
def test_error_consistency_without_any_error_or_with_nothing_else(kit, told, value, answers):
    networks = [kit.decides(answers) for _ in range(2)]
    bench = kit.bench(kit.numbered(4), [0, 1, 2, 0], *networks)
    options = ConsensusOptions(set="set", domains=["grey"], replicates=5, **told)
    records = Consensus(options).measure(bench)
    for unit, n in (("image set", 1), ("replicate", 5)):
        found = kit.values(records, "error_consistency", unit=unit)
        np.testing.assert_array_equal(found, [value] * n)


def test_error_consistency_with_errors_does_not_depend_on_that(kit):
    networks = [kit.decides([0, 1, 2, 1]), kit.decides([0, 1, 1, 1])]
    bench = kit.bench(kit.numbered(4), [0, 1, 2, 0], *networks)
    values = [
        kit.values(
            Consensus(
                ConsensusOptions(set="set", domains=["grey"], replicates=0, without_errors=word)
            ).measure(bench),
            "error_consistency",
            unit="image set",
        )
        for word in ("unknown", "one")
    ]
    np.testing.assert_allclose(values, 0.5)


def test_triplets_of_different_classes_have_one_image_of_each(kit):
    labels = [0] * 8 + [1, 2, 2]
    probe = Boundary(BoundaryOptions(set="set", domains=["grey"], classes="different"))
    bench = kit.bench(kit.numbered(11), labels, kit.decides([0] * 11))
    images = bench.image_set(probe.options, "grey")
    rng = np.random.default_rng(0)
    drawn = [probe._triplet(images, rng) for _ in range(60)]
    assert all(sorted(images.labels[rows]) == [0, 1, 2] for rows in drawn)
    assert {int(row) for rows in drawn for row in rows} == set(range(11))
    assert {tuple(images.labels[rows]) for rows in drawn} == set(permutations(range(3)))
    bench = kit.bench(kit.numbered(4), [0, 0, 1, 1], kit.decides([0] * 4), kit.decides([0] * 4))
    with pytest.raises(KdpipeError, match=r"three classes in domain 'grey', but there are 2"):
        probe.measure(bench)


def test_error_consistency_of_independent_errors_is_about_zero():
    rng = np.random.default_rng(0)
    one, two = rng.random(40_000) < 0.9, rng.random(40_000) < 0.6
    assert abs(error_consistency(one, two)) < 0.02
    assert (one == two).mean() > 0.55  # what plain agreement would call similar
