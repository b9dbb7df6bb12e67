"""Consensus by plain counting, error consistency against torchmetrics' Cohen's kappa."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import binary_cohen_kappa, multiclass_cohen_kappa

from kdpipe.probes.base import resamples
from kdpipe.probes.consensus import Consensus, ConsensusOptions


def measure(kit, labels, student, teacher, **given):
    n = len(labels)
    k = 1 + max(*labels, *student, *teacher)
    bench = kit.bench(
        kit.numbered(n),
        labels,
        kit.decides(student, k),
        kit.decides(teacher, k),
        classes=[f"class {i}" for i in range(k)],
    )
    options = ConsensusOptions(set="set", domains=["grey"], replicates=0, **given)
    return Consensus(options).measure(bench)


def decisions(seed, n=150, k=4):
    """Labels, student and teacher: partly right, and partly wrong together."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, k, n)
    teacher = np.where(rng.random(n) < 0.7, labels, rng.integers(0, k, n))
    student = np.where(rng.random(n) < 0.6, labels, rng.integers(0, k, n))
    return labels, np.where(rng.random(n) < 0.2, teacher, student), teacher


def kappa(one, two):
    """torchmetrics' Cohen's kappa of two rows of right and wrong."""
    right = (torch.from_numpy(np.asarray(x).astype(np.int64)) for x in (one, two))
    return float(binary_cohen_kappa(*right))


@pytest.mark.parametrize("seed", range(4))
def test_consensus_is_counted_image_by_image(kit, seed):
    labels, student, teacher = decisions(seed)
    same = wrong = same_wrong = 0
    for y, s, t in zip(labels, student, teacher, strict=True):
        same += s == t
        if t != y:
            wrong += 1
            same_wrong += s == t
    records = measure(kit, labels, student, teacher)
    assert kit.values(records, "consensus").mean() == pytest.approx(same / 150, abs=1e-12)
    where_wrong = kit.values(records, "consensus_teacher_wrong")
    assert np.isfinite(where_wrong).sum() == wrong
    assert np.nanmean(where_wrong) == pytest.approx(same_wrong / wrong, abs=1e-12)
    assert same_wrong / wrong < same / 150 - 0.1


@pytest.mark.parametrize("seed", range(4))
def test_error_consistency_is_kappa_of_being_right(kit, seed):
    labels, student, teacher = decisions(seed)
    (ours,) = kit.values(
        measure(kit, labels, student, teacher), "error_consistency", unit="image set"
    )
    assert ours == pytest.approx(kappa(student == labels, teacher == labels), abs=1e-6)
    assert ours > 0.05
    # Kappa of the predictions themselves is another question.
    predictions = multiclass_cohen_kappa(*map(torch.from_numpy, (student, teacher)), num_classes=4)
    assert abs(ours - float(predictions)) > 0.01


def test_replicates_are_kappa_on_resampled_images(kit):
    labels, student, teacher = decisions(9)
    bench = kit.bench(
        kit.numbered(150),
        labels,
        kit.decides(student, 4),
        kit.decides(teacher, 4),
        classes=list("abcd"),
    )
    options = ConsensusOptions(set="set", domains=["grey"], replicates=12)
    ours = kit.values(Consensus(options).measure(bench), "error_consistency", unit="replicate")
    right, teacher_right = student == labels, teacher == labels
    expected = [kappa(right[r], teacher_right[r]) for r in resamples(150, 12, "consensus")]
    assert ours == pytest.approx(expected, abs=1e-6)
    assert np.std(expected) > 0.01


@pytest.mark.parametrize(
    ("student", "teacher", "expected"),
    [
        ([0, 0, 0], [0, 0, 0], np.nan),  # both always right: no error to be consistent about
        ([1, 1, 2], [2, 1, 1], np.nan),  # both always wrong
        ([0, 0, 0], [1, 1, 2], 0.0),  # one always right, the other always wrong: chance
        ([0, 0, 1], [0, 0, 2], 1.0),  # the same image wrong, with different answers
        ([0, 1, 1], [1, 0, 0], -0.8),  # 0 observed, 4/9 expected: (0 − 4/9) / (1 − 4/9)
    ],
)
def test_error_consistency_of_extremes_by_hand(kit, student, teacher, expected):
    records = measure(kit, [0, 0, 0], student, teacher)
    (ours,) = kit.values(records, "error_consistency", unit="image set")
    assert ours == pytest.approx(expected, nan_ok=True)


def test_a_teacher_that_is_never_wrong_leaves_no_images(kit):
    records = measure(kit, [0, 1, 2], [0, 2, 2], [0, 1, 2])
    assert np.isnan(kit.values(records, "consensus_teacher_wrong")).all()
    assert kit.values(records, "consensus").tolist() == [1, 0, 1]


def test_a_single_image(kit):
    records = measure(kit, [0], [1], [1])
    assert kit.values(records, "consensus").tolist() == [1]
    assert kit.values(records, "consensus_teacher_wrong").tolist() == [1]
    assert np.isnan(kit.values(records, "error_consistency", unit="image set")).all()
