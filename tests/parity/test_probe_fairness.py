"""Group fairness on confusion matrices of scikit-learn, and against fairlearn."""

from __future__ import annotations

import fairlearn.metrics
import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from kdpipe.base.errors import KdpipeError
from kdpipe.probes.base import resamples
from kdpipe.probes.fairness import Fairness, FairnessOptions

WHERE = "domain=grey;positive=odd"


def measure(kit, labels, said, groups, classes=("even", "odd"), **given):
    bench = kit.bench(
        kit.numbered(len(labels)),
        labels,
        kit.decides(said, len(classes)),
        classes=list(classes),
        group=groups,
    )
    return Fairness(FairnessOptions(set="set", domains=["grey"], **given)).measure(bench)


def faces(seed, n=180, groups=4):
    """Labels, answers and groups, which differ in how often they are given class 1."""
    rng = np.random.default_rng(seed)
    group = rng.integers(0, groups, n)
    labels = (rng.random(n) < 0.3 + 0.1 * group).astype(int)
    right = rng.random(n) < 0.6 + group / 12
    return labels, np.where(right, labels, 1 - labels), np.array([f"race {g}" for g in group])


def reference(labels, said, group):
    """By scikit-learn, from the rates of each group and their extremes."""
    of = {"selected": [], "tpr": [], "fpr": []}
    for name in sorted(set(group)):
        own = group == name
        (_, fpr), (_, tpr) = confusion_matrix(
            labels[own], said[own], labels=[0, 1], normalize="true"
        )
        for key, rate in (("selected", said[own].mean()), ("tpr", tpr), ("fpr", fpr)):
            of[key].append(rate)
    difference = {key: max(rates) - min(rates) for key, rates in of.items()}
    ratio = {key: min(rates) / max(rates) for key, rates in of.items()}
    return {
        "demographic_parity_difference": difference["selected"],
        "demographic_parity_ratio": ratio["selected"],
        "equal_opportunity_difference": difference["tpr"],
        "equal_opportunity_ratio": ratio["tpr"],
        "equalized_odds_difference": max(difference["tpr"], difference["fpr"]),
        "equalized_odds_ratio": min(ratio["tpr"], ratio["fpr"]),
    }


@pytest.mark.parametrize("seed", range(4))
def test_criteria_are_those_of_the_confusion_matrices(kit, seed):
    labels, said, group = faces(seed)
    records = measure(kit, labels, said, group, replicates=0)
    for metric, expected in reference(labels, said, group).items():
        (ours,) = kit.values(records, metric, WHERE, "image set")
        assert ours == pytest.approx(expected, abs=1e-12), metric
        assert 0.01 < ours < 0.99, metric


@pytest.mark.parametrize("seed", range(2))
def test_criteria_are_those_of_fairlearn(kit, seed):
    labels, said, group = faces(seed)
    records = measure(kit, labels, said, group, replicates=0)
    for metric in reference(labels, said, group):
        (ours,) = kit.values(records, metric, WHERE, "image set")
        theirs = getattr(fairlearn.metrics, metric)(labels, said, sensitive_features=group)
        assert ours == pytest.approx(theirs, abs=1e-12), metric


def test_equalized_odds_take_the_worse_of_both_rates(kit):
    """Group a: positives 1/2, negatives 1/2 given the class; b: positives 1, negatives 0."""
    labels, groups = np.array([1, 1, 0, 0] * 2), ["a"] * 4 + ["b"] * 4
    said = np.array([1, 0, 1, 0, 1, 1, 0, 0])
    records = measure(kit, labels, said, groups, replicates=0)
    got = {s.metric: kit.values(records, s.metric, WHERE, "image set")[0]
           for s in records.statistics if s.condition == WHERE}  # fmt: skip
    assert got == {
        "equalized_odds_difference": 0.5,
        "equalized_odds_ratio": 0.0,
        "equal_opportunity_difference": 0.5,
        "equal_opportunity_ratio": 0.5,
        "demographic_parity_difference": 0.0,
        "demographic_parity_ratio": 1.0,
    }
    false_alone = measure(kit, labels, np.array([1, 1, 1, 1, 1, 1, 0, 0]), groups, replicates=0)
    (odds,) = kit.values(false_alone, "equalized_odds_difference", WHERE, "image set")
    (opportunity,) = kit.values(false_alone, "equal_opportunity_difference", WHERE, "image set")
    assert (odds, opportunity) == (1, 0)


def test_rates_of_a_group_are_kept_image_by_image(kit):
    labels, said, group = faces(6)
    records = measure(kit, labels, said, group, replicates=0)
    own = group == "race 2"
    (_, fpr), (_, tpr) = confusion_matrix(labels[own], said[own], normalize="true")
    where = f"{WHERE};group=race 2"
    expected = {"selected": said[own].mean(), "true_positive": tpr, "false_positive": fpr}
    for metric, rate in expected.items():
        values = kit.values(records, metric, where)
        assert len(values) == own.sum()
        assert np.nanmean(values) == pytest.approx(rate, abs=1e-12), metric


def test_replicates_resample_within_each_group(kit):
    labels, said, group = faces(5, n=80, groups=2)
    records = measure(kit, labels, said, group, replicates=12)
    parts = [np.flatnonzero(group == name) for name in ("race 0", "race 1")]
    drawn = [own[resamples(len(own), 12, "group rates")] for own in parts]
    for metric in reference(labels, said, group):
        expected = []
        for rows in zip(*drawn, strict=True):
            images = np.concatenate(rows)
            expected.append(reference(labels[images], said[images], group[images])[metric])
        ours = kit.values(records, metric, WHERE, "replicate")
        assert ours == pytest.approx(expected, abs=1e-12), metric
        assert np.std(expected) > 0.001


def test_a_group_without_positives_has_no_rate_of_them(kit):
    """fairlearn takes 0, as if all had been missed."""
    labels = np.array([1, 1, 0, 0, 1, 0])
    said = np.array([1, 0, 0, 0, 1, 1])
    records = measure(kit, labels, said, ["a", "a", "b", "b", "c", "c"], replicates=0)
    (ours,) = kit.values(records, "equal_opportunity_difference", WHERE, "image set")
    assert ours == 0.5  # 1/2 of a, 1 of c
    nobody = measure(kit, [0, 0], [0, 1], ["a", "b"], replicates=3)
    assert np.isnan(kit.values(nobody, "equal_opportunity_difference", WHERE, "image set")).all()
    assert np.isnan(kit.values(nobody, "equalized_odds_difference", WHERE, "image set")).all()


def test_groups_that_are_never_given_the_class_are_alike(kit):
    records = measure(kit, [1, 0, 1, 0], [0, 0, 0, 0], list("aabb"), replicates=0)
    assert kit.values(records, "demographic_parity_difference", WHERE, "image set") == [0]
    assert kit.values(records, "demographic_parity_ratio", WHERE, "image set") == [1]


def test_one_of_many_classes_has_to_be_named(kit):
    given = [0, 1, 2, 2], [0, 2, 2, 1], list("aabb"), ("x", "y", "z")
    with pytest.raises(KdpipeError, match="there are 3; name it with positive"):
        measure(kit, *given)
    with pytest.raises(KdpipeError, match="positive 'q' is no class of the set; it has x, y, z"):
        measure(kit, *given, positive="q")
    records = measure(kit, *given, positive="z", replicates=0)
    where = "domain=grey;positive=z"
    (primary,) = (s for s in records.statistics if s.primary)
    assert (primary.condition, primary.metric) == (where, "equalized_odds_difference")
    # True positives: none of a, 1/2 of b. False positives: 1/2 of a, none of b.
    assert kit.values(records, "true_positive", f"{where};group=b").tolist() == [1, 0]
    assert kit.values(records, "demographic_parity_difference", where, "image set") == [0]


@pytest.mark.parametrize(("groups", "said"), [(["a", "a"], "1 group"), (["", ""], "no groups")])
def test_fewer_than_two_groups_are_refused(kit, groups, said):
    with pytest.raises(KdpipeError, match=f"domain 'grey' belong to {said}"):
        measure(kit, [0, 1], [0, 1], groups)
