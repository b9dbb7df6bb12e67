"""Accuracy per domain against torchmetrics, also of degenerate networks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import multiclass_accuracy

from kdpipe.probes import base
from kdpipe.probes.accuracy import Accuracy, AccuracyOptions

DOMAINS = ["grey", "colour", "photo"]


def measure(bench, **given):
    return Accuracy(AccuracyOptions(**{"set": "set", "domains": ["grey"], **given})).measure(bench)


@pytest.mark.parametrize("n_classes", [2, 5, 16])
@pytest.mark.parametrize("batch", [256, 7])
def test_accuracy_is_that_of_torchmetrics(kit, monkeypatch, n_classes, batch):
    """120 images of three domains; batches of seven leave one image for the last."""
    monkeypatch.setattr(base, "BATCH", batch)
    rng = np.random.default_rng(n_classes)
    logits, labels = rng.normal(size=(120, n_classes)), rng.integers(0, n_classes, 120)
    logits[np.arange(120), labels] += 1.0
    domain = [DOMAINS[i % 3 if i > 20 else 0] for i in range(120)]
    classes = [f"class {k}" for k in range(n_classes)]
    bench = kit.bench(
        kit.numbered(120), labels, kit.answers(logits), classes=classes, domain=domain
    )
    records = measure(bench, domains=DOMAINS)
    expected = []
    for name in DOMAINS:
        rows = np.array(domain) == name
        reference = multiclass_accuracy(
            torch.from_numpy(logits[rows]),
            torch.from_numpy(labels[rows]),
            num_classes=n_classes,
            average="micro",
        )
        expected.append(float(reference))
        ours = kit.values(records, "accuracy", f"domain={name}")
        assert len(ours) == rows.sum()
        assert ours.mean() == pytest.approx(expected[-1], abs=1e-7)
    (gap,) = kit.values(records, "accuracy_gap", unit="image set")
    (worst,) = kit.values(records, "worst_domain_accuracy", unit="image set")
    assert gap == pytest.approx(max(expected) - min(expected), abs=1e-6)
    assert worst == pytest.approx(min(expected), abs=1e-7)


def test_replicates_of_gap_and_worst_resample_each_domain(kit):
    rng = np.random.default_rng(3)
    right = rng.random(30) < 0.6
    domain = ["grey"] * 12 + ["colour"] * 18
    network = kit.decides(np.where(right, 0, 1))
    records = measure(
        kit.bench(kit.numbered(30), [0] * 30, network, domain=domain),
        domains=["grey", "colour"],
        replicates=25,
    )
    gap, worst = [], []
    grey, colour = base.resamples(12, 25, "domain gap"), base.resamples(18, 25, "domain gap")
    for k in range(25):
        a = sum(right[:12][i] for i in grey[k]) / 12
        b = sum(right[12:][i] for i in colour[k]) / 18
        gap.append(abs(a - b))
        worst.append(min(a, b))
    assert kit.values(records, "accuracy_gap", unit="replicate") == pytest.approx(gap)
    assert kit.values(records, "worst_domain_accuracy", unit="replicate") == pytest.approx(worst)


def test_degenerate_networks_by_hand(kit):
    pixels, labels = kit.numbered(4), [1, 1, 2, 1]
    never = measure(kit.bench(pixels, labels, kit.decides([0, 2, 1, 0])))
    assert kit.values(never, "accuracy").tolist() == [0, 0, 0, 0]
    constant = measure(kit.bench(pixels, labels, kit.decides([1, 1, 1, 1])))
    assert kit.values(constant, "accuracy").tolist() == [1, 1, 0, 1]
    alone = measure(kit.bench(kit.numbered(1), [2], kit.decides([2])))
    assert kit.values(alone, "accuracy").tolist() == [1]
    one_class = kit.bench(kit.numbered(3), [0, 0, 0], kit.answers(np.zeros((3, 1))), classes=["a"])
    assert kit.values(measure(one_class), "accuracy").tolist() == [1, 1, 1]
