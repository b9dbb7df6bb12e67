"""Expected calibration error against torchmetrics."""

from __future__ import annotations

import numpy as np
import pytest
import torch
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
    of_images = {s.condition for s in records.statistics if s.metric != "ece"}
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
