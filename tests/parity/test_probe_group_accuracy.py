"""Accuracy per group against torchmetrics' rates per group."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import binary_groups_stat_rates

from kdpipe.probes.base import resamples
from kdpipe.probes.group_accuracy import GroupAccuracy, GroupAccuracyOptions

EVERYONE = "domain=grey;group=all"


def measure(kit, labels, said, groups, **given):
    bench = kit.bench(
        kit.numbered(len(labels)),
        labels,
        kit.decides(said, 2),
        classes=["even", "odd"],
        group=groups,
    )
    return GroupAccuracy(GroupAccuracyOptions(set="set", domains=["grey"], **given)).measure(bench)


def faces(seed, n=180, groups=7):
    rng = np.random.default_rng(seed)
    group = np.sort(rng.integers(0, groups, n))
    labels = rng.integers(0, 2, n)
    return labels, np.where(rng.random(n) < 0.5 + group / 16, labels, 1 - labels), group


@pytest.mark.parametrize("seed", range(3))
def test_accuracy_of_a_group_is_that_of_torchmetrics(kit, seed):
    """True positives and true negatives, as shares of a group."""
    labels, said, group = faces(seed)
    rates = binary_groups_stat_rates(*map(torch.from_numpy, (said, labels, group)), num_groups=7)
    expected = [float(rates[f"group_{g}"][0] + rates[f"group_{g}"][2]) for g in range(7)]
    records = measure(kit, labels, said, [f"race {g}" for g in group], group="race 2")
    for g in range(7):
        ours = kit.values(records, "accuracy", f"domain=grey;group=race {g}")
        assert len(ours) == (group == g).sum()
        assert ours.mean() == pytest.approx(expected[g], abs=1e-6)
    shares = np.bincount(group) / len(group)
    overall = kit.values(records, "accuracy", EVERYONE).mean()
    assert overall == pytest.approx(float(shares @ expected), abs=1e-6)
    (gap,) = kit.values(records, "accuracy_gap", EVERYONE, "image set")
    (worst,) = kit.values(records, "worst_group_accuracy", EVERYONE, "image set")
    assert gap == pytest.approx(max(expected) - min(expected), abs=1e-6)
    assert worst == pytest.approx(min(expected), abs=1e-6)
    assert gap > 0.1


def test_replicates_resample_within_each_group(kit):
    labels, said, group = faces(5, n=60, groups=3)
    records = measure(kit, labels, said, [f"race {g}" for g in group], replicates=15)
    accuracies = np.empty((15, 3))
    for g in range(3):
        right = (labels == said)[group == g]
        for b, rows in enumerate(resamples(len(right), 15, "group gap")):
            accuracies[b, g] = sum(right[i] for i in rows) / len(rows)
    gaps = kit.values(records, "accuracy_gap", EVERYONE, "replicate")
    worst = kit.values(records, "worst_group_accuracy", EVERYONE, "replicate")
    assert gaps == pytest.approx(accuracies.max(1) - accuracies.min(1))
    assert worst == pytest.approx(accuracies.min(1))


def test_all_wrong_and_a_group_of_one_image(kit):
    records = measure(kit, [0, 1, 0], [1, 0, 1], ["a", "a", "b"], replicates=4)
    assert kit.values(records, "accuracy", "domain=grey;group=a").tolist() == [0, 0]
    assert kit.values(records, "accuracy", "domain=grey;group=b").tolist() == [0]
    assert kit.values(records, "accuracy_gap", EVERYONE, "image set").tolist() == [0]
    assert kit.values(records, "worst_group_accuracy", EVERYONE, "replicate").tolist() == [0] * 4


def test_a_single_image(kit):
    records = measure(kit, [1], [1], ["a"])
    assert kit.values(records, "accuracy", "domain=grey;group=a").tolist() == [1]
    assert kit.values(records, "accuracy", EVERYONE).tolist() == [1]
