"""Expected calibration error against torchmetrics, proper scores against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import brier_score_loss, log_loss
from torchmetrics.functional.classification import multiclass_calibration_error

from kdpipe.probes.base import resamples
from kdpipe.probes.calibration import Calibration, CalibrationOptions


def measure(kit, logits, labels, **given):
    k = np.shape(logits)[1]
    bench = kit.bench(
        kit.numbered(len(labels)), labels, kit.answers(logits), classes=[f"{i}" for i in range(k)]
    )
    return Calibration(CalibrationOptions(set="set", domains=["grey"], **given)).measure(bench)


def outcomes(seed, n=200, k=5):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.5, (n, k)).astype(np.float32)
    labels = np.where(rng.random(n) < 0.6, logits.argmax(1), rng.integers(0, k, n))
    return logits, labels


def reference(logits, labels, bins):
    """torchmetrics' bins are right-open and ours left-open; no confidence here is on an edge."""
    probabilities = torch.from_numpy(np.asarray(logits)).double().softmax(1)
    return float(
        multiclass_calibration_error(
            probabilities,
            torch.from_numpy(np.asarray(labels)),
            num_classes=np.shape(logits)[1],
            n_bins=bins,
            norm="l1",
        )
    )


@pytest.mark.parametrize("bins", [1, 10, 15, 100])
@pytest.mark.parametrize("seed", range(3))
def test_error_is_that_of_torchmetrics(kit, bins, seed):
    logits, labels = outcomes(seed)
    records = measure(kit, logits, labels, bins=bins, replicates=6)
    where = f"domain=grey;bins={bins}"
    (ours,) = kit.values(records, "ece", where, "image set")
    assert ours == pytest.approx(reference(logits, labels, bins), abs=1e-6)
    assert ours > 0.005
    rows = resamples(200, 6, "calibration")
    expected = [reference(logits[r], labels[r], bins) for r in rows]
    assert kit.values(records, "ece", where, "replicate") == pytest.approx(expected, abs=1e-6)


def test_bins_are_fifteen_by_default_and_stated(kit):
    records = measure(kit, *outcomes(0))
    assert [(s.condition, s.metric) for s in records.statistics if s.primary] == [
        ("domain=grey;bins=15", "ece")
    ]
    of_images = {s.condition for s in records.statistics if "ece" not in s.metric}
    assert of_images == {"domain=grey"}


def test_one_bin_is_the_gap_of_the_means(kit):
    logits, labels = outcomes(4)
    records = measure(kit, logits, labels, bins=1, replicates=0)
    (ours,) = kit.values(records, "ece", unit="image set")
    gap = kit.values(records, "confidence_gap")
    assert ours == pytest.approx(abs(gap.mean()), abs=1e-12)
    p = np.exp(logits.astype(float))
    confidence = (p / p.sum(1, keepdims=True)).max(1)
    assert kit.values(records, "confidence") == pytest.approx(confidence, abs=1e-12)
    right = logits.argmax(1) == labels
    assert gap == pytest.approx(confidence - right, abs=1e-12)


@pytest.mark.parametrize(
    ("logits", "labels", "expected"),
    [
        (np.zeros((4, 4)), [1, 1, 2, 3], 1 / 4),  # constant: sure to 1/4, never right
        (np.zeros((4, 4)), [0, 1, 2, 3], 0.0),  # constant and right on its share
        (np.zeros((3, 1)), [0, 0, 0], 0.0),  # one class
        ([[50.0, 0.0]] * 3, [1, 1, 1], 1.0),  # certain and always wrong
        ([[50.0, 0.0]] * 3, [0, 0, 0], 0.0),  # certain and always right
        ([[np.log(3), 0.0]], [0], 1 / 4),  # a single image, right at 3/4
    ],
)
def test_extremes_by_hand(kit, logits, labels, expected):
    records = measure(kit, logits, labels, replicates=3)
    (ours,) = kit.values(records, "ece", unit="image set")
    assert ours == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("n_classes", [2, 5])
@pytest.mark.parametrize("seed", range(2))
def test_proper_scores_are_those_of_scikit_learn(kit, seed, n_classes):
    logits, labels = outcomes(seed, n=80, k=n_classes)
    records = measure(kit, logits, labels, replicates=0)
    p = torch.from_numpy(logits).double().softmax(1).numpy()
    nll, brier = kit.values(records, "nll"), kit.values(records, "brier")
    known = list(range(n_classes))
    assert nll.mean() == pytest.approx(log_loss(labels, p, labels=known), rel=1e-12)
    expected = brier_score_loss(labels, p, labels=known, scale_by_half=False)
    assert brier.mean() == pytest.approx(expected, rel=1e-12)
    by_hand = [sum((p[i, k] - (k == y)) ** 2 for k in known) for i, y in enumerate(labels)]
    assert brier == pytest.approx(by_hand, rel=1e-12)
    assert nll == pytest.approx([-np.log(p[i, y]) for i, y in enumerate(labels)], rel=1e-9)


def equal_bins(confidence, correct, bins):
    """Sorted, dealt out to bins as even as can be, the larger ones first."""
    images = sorted(zip(confidence, correct, strict=True))
    size, more = divmod(len(images), bins)
    total = 0.0
    for b in range(bins):
        inside = [images.pop(0) for _ in range(size + (b < more))]
        if inside:
            mean = sum(c for c, _ in inside) / len(inside)
            total += len(inside) * abs(sum(r for _, r in inside) / len(inside) - mean)
    return total / len(confidence)


@pytest.mark.parametrize("bins", [1, 7, 15, 300])
def test_bins_of_equally_many_images(kit, bins):
    logits, labels = outcomes(3)
    records = measure(kit, logits, labels, bins=bins, replicates=5)
    confidence = torch.from_numpy(logits).double().softmax(1).amax(1).numpy()
    correct = logits.argmax(1) == labels
    where = f"domain=grey;bins={bins}"
    (ours,) = kit.values(records, "ece_adaptive", where, "image set")
    assert ours == pytest.approx(equal_bins(confidence, correct, bins), abs=1e-12)
    rows = resamples(200, 5, "calibration")
    expected = [equal_bins(confidence[r], correct[r], bins) for r in rows]
    assert kit.values(records, "ece_adaptive", where, "replicate") == pytest.approx(expected)
    if bins == 1:
        assert ours == pytest.approx(kit.values(records, "ece", unit="image set")[0], abs=1e-12)


def test_scores_of_certain_networks_by_hand(kit):
    records = measure(kit, [[1000.0, 0.0]] * 2, [0, 1], replicates=0)
    assert kit.values(records, "nll").tolist() == [0, 1000]
    assert kit.values(records, "brier").tolist() == [0, 2]
    assert kit.values(records, "ece_adaptive", unit="image set").tolist() == [0.5]


def test_a_score_has_a_smallest_gap_in_its_own_unit(kit):
    records = measure(kit, *outcomes(0), replicates=0)
    gaps = {s.metric: s.min_gap for s in records.statistics}
    assert (gaps["nll"], gaps["brier"], gaps["ece_adaptive"], gaps["ece"]) == (
        0.05,
        0.02,
        None,
        None,
    )
