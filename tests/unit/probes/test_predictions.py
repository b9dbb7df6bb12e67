"""Probes of predictions, against counts by hand and independent references."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy
from sklearn.metrics import cohen_kappa_score

from kdpipe.base.errors import KdpipeError
from kdpipe.probes.accuracy import Accuracy, AccuracyOptions
from kdpipe.probes.base import ProbeOptions
from kdpipe.probes.boundary import Boundary, BoundaryOptions, Plane, class_iou
from kdpipe.probes.calibration import Calibration, CalibrationOptions, expected_calibration_error
from kdpipe.probes.consensus import Consensus, ConsensusOptions, error_consistency
from kdpipe.probes.fidelity import Fidelity
from kdpipe.probes.group_accuracy import GroupAccuracy, GroupAccuracyOptions
from kdpipe.probes.shape_bias import ShapeBias


def options(cls=ProbeOptions, **given_options):
    return cls(**{"set": "tiny", "domains": ["grey"], **given_options})


def primaries(records):
    return [(s.condition, s.metric) for s in records.statistics if s.primary]


def test_accuracy_is_per_image_and_per_domain(kit):
    bench = kit.bench(
        kit.numbered(6),
        [0, 1, 2, 0, 1, 2],
        kit.decides([0, 1, 1, 2, 2, 2], 3),
        domain=["grey"] * 3 + ["colour"] * 3,
    )
    records = Accuracy(
        options(AccuracyOptions, domains=["grey", "colour"], primary="colour")
    ).measure(bench)
    assert kit.values(records, "accuracy", "domain=grey").tolist() == [1, 1, 0]
    assert kit.values(records, "accuracy", "domain=colour").tolist() == [0, 0, 1]
    assert primaries(records) == [("domain=colour", "accuracy")]
    table = records.table().to_pandas()
    assert table[table.metric == "accuracy"].unit_id.tolist() == [0, 1, 2, 3, 4, 5]


def test_a_limit_shows_the_same_source_images_of_every_network(kit):
    bench = kit.bench(kit.numbered(9), [0, 1, 2] * 3, kit.decides([0] * 9, 3))
    limited = Accuracy(options(AccuracyOptions, limit=4)).measure(bench)
    chosen = limited.table().to_pandas().unit_id.tolist()
    assert len(set(chosen)) == 4
    again = (
        Accuracy(options(AccuracyOptions, limit=4))
        .measure(bench)
        .table()
        .to_pandas()
        .unit_id.tolist()
    )
    fewer = (
        Accuracy(options(AccuracyOptions, limit=3))
        .measure(bench)
        .table()
        .to_pandas()
        .unit_id.tolist()
    )
    assert again == chosen
    assert set(fewer) < set(chosen)


def test_group_accuracy_by_hand(kit):
    bench = kit.bench(
        kit.numbered(5),
        [0, 1, 0, 1, 0],
        kit.decides([0, 1, 1, 1, 2], 3),
        group=["old", "old", "new", "new", "new"],
    )
    records = GroupAccuracy(options(GroupAccuracyOptions, group="old")).measure(bench)
    assert kit.values(records, "accuracy", "domain=grey;group=old").tolist() == [1, 1]
    assert kit.values(records, "accuracy", "domain=grey;group=new").tolist() == [0, 1, 0]
    assert kit.values(records, "accuracy", "domain=grey;group=all").tolist() == [1, 1, 0, 1, 0]
    assert primaries(records) == [("domain=grey;group=old", "accuracy")]
    first = GroupAccuracy(options(GroupAccuracyOptions)).measure(bench)
    assert primaries(first) == [("domain=grey;group=new", "accuracy")]


def test_images_of_no_group_are_no_group(kit):
    groups = ["old", "", "young", "", "old", "young"]
    bench = kit.bench(
        kit.numbered(6), [0, 1, 2, 0, 1, 2], kit.decides([0, 0, 2, 1, 1, 2], 3), group=groups
    )
    records = GroupAccuracy(options(GroupAccuracyOptions)).measure(bench)
    conditions = {s.condition for s in records.statistics}
    assert {c for c in conditions if "group=" in c} == {
        "domain=grey;group=old",
        "domain=grey;group=young",
        "domain=grey;group=all",
    }
    assert kit.values(records, "accuracy", "domain=grey;group=all").tolist() == [1, 0, 1, 0, 1, 1]
    nobody = kit.bench(kit.numbered(2), [0, 1], kit.decides([0, 0], 3), group=["", ""])
    with pytest.raises(KdpipeError, match="no image of domain 'grey' belongs to a group"):
        GroupAccuracy(options(GroupAccuracyOptions)).measure(nobody)


def test_group_accuracy_of_an_unknown_group_is_refused(kit):
    """Otherwise the study would silently have no primary statistic."""
    bench = kit.bench(kit.numbered(2), [0, 1], kit.decides([0, 1], 3), group=["old", "new"])
    with pytest.raises(KdpipeError, match="young"):
        GroupAccuracy(options(GroupAccuracyOptions, group="young")).measure(bench)


def test_shape_bias_counts_only_decisions_between_two_cues(kit):
    # image:      0 shape, 1 other cue, 2 neither, 3 cues agree, 4 no cue, 5 shape
    labels = [0, 0, 0, 1, 2, 2]
    cues = [1, 1, 1, 1, -1, 0]
    said = [0, 1, 2, 1, 2, 2]
    bench = kit.bench(kit.numbered(6), labels, kit.decides(said, 3), cue=cues)
    records = ShapeBias(options()).measure(bench)
    nan = np.nan
    np.testing.assert_array_equal(kit.values(records, "shape_bias"), [1, 0, nan, nan, nan, 1])
    np.testing.assert_array_equal(kit.values(records, "shape_accuracy"), [1, 0, 0, nan, nan, 1])
    assert records.notes["domain=grey"] == {
        "shape_decisions": 2,
        "other_cue_decisions": 1,
        "conflict_images": 4,
    }


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


def test_fidelity_against_scipy(kit):
    rng = np.random.default_rng(2)
    mine, theirs = rng.normal(0, 2, (2, 8, 3))
    bench = kit.bench(kit.numbered(8), [0] * 8, kit.answers(mine), kit.answers(theirs))
    records = Fidelity(options()).measure(bench)
    p, q = (np.exp(x) / np.exp(x).sum(1, keepdims=True) for x in (theirs, mine))
    np.testing.assert_allclose(
        kit.values(records, "predictive_kl"), entropy(p, q, axis=1), rtol=1e-5
    )
    assert not np.allclose(entropy(p, q, axis=1), entropy(q, p, axis=1), rtol=0.05)
    expected = (mine.argmax(1) == theirs.argmax(1)).astype(float)
    assert 0 < expected.mean() < 1
    np.testing.assert_array_equal(kit.values(records, "top1_agreement"), expected)


def plain_ece(confidence, correct, bins):
    total = 0.0
    for b in range(bins):
        inside = [
            i
            for i, c in enumerate(confidence)
            if b / bins < c <= (b + 1) / bins or (b == 0 and c == 0)
        ]
        if inside:
            accuracy = sum(correct[i] for i in inside) / len(inside)
            mean = sum(confidence[i] for i in inside) / len(inside)
            total += len(inside) / len(confidence) * abs(accuracy - mean)
    return total


# Sixteenths are exact, so that a value on an edge of a bin is on it in both.
@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 64), st.booleans()), min_size=1, max_size=40),
    st.sampled_from([1, 2, 4, 8, 16]),
)
def test_ece_against_a_plain_loop(outcomes, bins):
    confidence = np.array([c / 64 for c, _ in outcomes])
    correct = np.array([right for _, right in outcomes])
    ours = expected_calibration_error(confidence, correct, bins)
    assert float(ours) == pytest.approx(plain_ece(confidence, correct, bins), abs=1e-12)


def test_calibration_by_hand(kit):
    # Two confident images at p = 0.8 (one right), two doubtful at p = 0.5 (both right).
    sure, doubt = [math.log(8), 0.0, 0.0], [math.log(2), 0.0, 0.0]
    network = kit.answers([sure, sure, doubt, doubt])
    bench = kit.bench(kit.numbered(4), [0, 1, 0, 0], network)
    records = Calibration(options(CalibrationOptions, bins=10, replicates=20)).measure(bench)
    (ece,) = kit.values(records, "ece", unit="image set")
    assert ece == pytest.approx(0.5 * abs(0.5 - 0.8) + 0.5 * abs(1 - 0.5))
    assert kit.values(records, "confidence_gap") == pytest.approx([-0.2, 0.8, -0.5, -0.5])
    assert kit.values(records, "accuracy").tolist() == [1, 0, 1, 1]
    # A resample of n images: its error is one of a few values, never beyond 1.
    resampled = kit.values(records, "ece", unit="replicate")
    assert len(resampled) == 20
    assert len(np.unique(resampled.round(9))) > 1
    assert ((resampled >= 0) & (resampled <= 1)).all()


def plane(triplet, resolution, margin):
    """The images at the grid points of a plane, (resolution, resolution, d)."""
    through = Plane.through(triplet)
    points = torch.cat(list(through.images(through.grid(resolution, margin))))
    return points.reshape(resolution, resolution, -1).numpy()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 9), st.floats(0, 2))
def test_plane_passes_through_its_three_images(seed, resolution, margin):
    """The grid is affine; each image is the grid point at its own coordinates."""
    triplet = torch.from_numpy(np.random.default_rng(seed).random((3, 3, 4, 4))).double()
    grid = plane(triplet, resolution, margin).astype(float)
    corner = grid[0, 0]
    along_x, along_y = grid[-1, 0] - corner, grid[0, -1] - corner
    assert abs(along_x @ along_y) < 1e-6 * np.linalg.norm(along_x) * np.linalg.norm(along_y)
    places = []
    for image in triplet.flatten(1).numpy():
        x = (image - corner) @ along_x / (along_x @ along_x)
        y = (image - corner) @ along_y / (along_y @ along_y)
        np.testing.assert_allclose(corner + x * along_x + y * along_y, image, atol=1e-6)
        places.append((x, y))
    (x1, y1), (x2, y2), (x3, y3) = places
    # All three inside; the first two share a line, and the margin is as wide as asked for.
    assert min(min(p) for p in places) > -1e-6
    assert max(max(p) for p in places) < 1 + 1e-6
    assert y1 == pytest.approx(y2, abs=1e-6)
    assert y1 == pytest.approx(margin / (1 + 2 * margin), abs=1e-6)
    assert y3 == pytest.approx((1 + margin) / (1 + 2 * margin), abs=1e-6)
    assert min(x1, x2, x3) == pytest.approx(1 - max(x1, x2, x3), abs=1e-6)
    assert x2 > x1


def test_plane_of_a_right_angle_by_hand():
    """Images at coordinates (0, 0), (2, 0), (0, 1): with margin 1 every second grid line hits."""
    triplet = torch.zeros(3, 3, 1, 1)
    triplet[1, 0], triplet[2, 1] = 2, 1
    grid = plane(triplet, 4, 1.0)
    assert grid[1, 1].tolist() == [0, 0, 0]
    assert grid[2, 1].tolist() == [2, 0, 0]
    assert grid[1, 2].tolist() == [0, 1, 0]
    assert grid[0, 0].tolist() == [-2, -1, 0]
    assert grid[3, 3].tolist() == [4, 2, 0]


def test_class_iou_by_hand():
    one = np.array([0, 0, 0, 1, 1, 2])
    two = np.array([0, 0, 1, 1, 1, 1])
    # Class 0: 2 of 3, class 1: 2 of 4, class 2: 0 of 1.
    assert class_iou(one, two) == pytest.approx((2 / 3 + 2 / 4 + 0) / 3)
    assert class_iou(one, one) == 1
    assert class_iou(one, one + 5) == 0


class Brightest(torch.nn.Module):
    """Logits are the mean of each colour channel, times ``sign``."""

    def __init__(self, sign):
        super().__init__()
        self.sign = sign

    def forward(self, images):
        return self.sign * images.mean((2, 3))


def test_boundary_of_a_network_with_itself_and_with_its_opposite(kit):
    few = options(BoundaryOptions, triplets=4, resolution=5)
    same = kit.network(Brightest(1))
    pixels = kit.numbered(7)
    bench = kit.bench(pixels, [0] * 7, same, same)
    records = Boundary(few).measure(bench)
    assert kit.values(records, "boundary_agreement", unit="triplet").tolist() == [1] * 4
    assert kit.values(records, "boundary_iou", unit="triplet").tolist() == [1] * 4
    bench = kit.bench(pixels, [0] * 7, kit.network(Brightest(-1)), same)
    opposite = Boundary(few).measure(bench)
    assert kit.values(opposite, "boundary_agreement", unit="triplet").tolist() == [0] * 4


def test_boundary_needs_three_images(kit):
    same = kit.network(Brightest(1))
    bench = kit.bench(kit.numbered(2), [0, 1], same, same)
    with pytest.raises(KdpipeError, match="three"):
        Boundary(options(BoundaryOptions, triplets=1)).measure(bench)


def test_gap_and_worst_are_taken_over_groups_of_images(kit):
    labels = [0, 1, 2, 0, 1, 2]
    network = kit.decides([0, 1, 0, 0, 0, 0])
    bench = kit.bench(kit.numbered(6), labels, network, group=["a", "a", "b", "b", "b", "c"])
    options = GroupAccuracyOptions(set="set", domains=["grey"], replicates=50)
    records = GroupAccuracy(options).measure(bench)
    everyone = "domain=grey;group=all"
    # Right: both of a, one of three of b, none of c.
    assert kit.values(records, "accuracy_gap", everyone, "image set").tolist() == [1.0]
    assert kit.values(records, "worst_group_accuracy", everyone, "image set").tolist() == [0.0]
    gaps = kit.values(records, "accuracy_gap", everyone, "replicate")
    worst = kit.values(records, "worst_group_accuracy", everyone, "replicate")
    # Groups a and c are all right and all wrong in every resample, so that the gap stays.
    assert gaps.tolist() == [1.0] * 50
    assert worst.tolist() == [0.0] * 50


def test_gap_between_domains_resamples_within_each(kit):
    labels = [0, 1, 2, 0, 0, 1, 2, 0]
    network = kit.decides([0, 1, 2, 0, 0, 1, 0, 1])
    domain = ["grey"] * 4 + ["colour"] * 4
    bench = kit.bench(kit.numbered(8), labels, network, domain=domain)
    options = AccuracyOptions(set="set", domains=["grey", "colour"], replicates=400)
    records = Accuracy(options).measure(bench)
    assert kit.values(records, "accuracy_gap", "domain=all", "image set").tolist() == [0.5]
    assert kit.values(records, "worst_domain_accuracy", "domain=all", "image set").tolist() == [0.5]
    worst = kit.values(records, "worst_domain_accuracy", "domain=all", "replicate")
    assert abs(worst.mean() - 0.5) < 0.05
    # The deviation of a mean of four coin tosses.
    assert abs(worst.std() - 0.25) < 0.03


def test_a_single_group_has_no_gap(kit):
    bench = kit.bench(kit.numbered(3), [0, 1, 2], kit.decides([0, 1, 2]))
    records = GroupAccuracy(GroupAccuracyOptions(set="set", domains=["grey"])).measure(bench)
    assert {s.metric for s in records.statistics} == {"accuracy"}
