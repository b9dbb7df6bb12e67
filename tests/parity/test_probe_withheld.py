"""Accuracy on withheld classes, with a bias found by trying every place where an answer changes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdpipe.base.errors import KdpipeError
from kdpipe.probes.withheld import Withheld, WithheldOptions, best_bias

CLASSES = ["0", "1", "2", "3"]


def right(logits, labels, withheld, bias) -> int:
    """Right answers with ``bias`` added, image by image."""
    count = 0
    for scores, label in zip(logits, labels, strict=True):
        moved = [z + bias * w for z, w in zip(scores, withheld, strict=True)]
        count += moved.index(max(moved)) == label
    return count


def best_by_trial(logits, labels, withheld) -> int:
    """Most right answers of any bias: one between every two places where an answer changes."""
    places = sorted(
        max(z for z, w in zip(row, withheld, strict=True) if not w)
        - max(z for z, w in zip(row, withheld, strict=True) if w)
        for row in logits
    )
    tried = [0.0, places[0] - 1, places[-1] + 1]
    tried += [(a + b) / 2 for a, b in itertools.pairwise(places)]
    return max(right(logits, labels, withheld, bias) for bias in tried)


@given(seed=st.integers(0, 10**6), n=st.integers(1, 30), shift=st.floats(-6, 6))
@settings(max_examples=80, deadline=None)
def test_no_bias_is_better(seed, n, shift):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, n)
    logits = rng.normal(size=(n, 4)) + 2 * np.eye(4)[labels]
    withheld = np.isin(np.arange(4), rng.choice(4, rng.integers(1, 4), replace=False))
    logits = logits + shift * withheld
    bias = best_bias(logits, labels, withheld)
    assert right(logits, labels, withheld, bias) == best_by_trial(logits, labels, withheld)
    assert right(logits, labels, withheld, bias) >= right(logits, labels, withheld, 0.0)


def test_a_bias_that_changes_nothing_is_0():
    logits = np.array([[5.0, 0.0], [0.0, 5.0]])
    assert best_bias(logits, np.array([0, 1]), np.array([False, True])) == 0.0


def test_of_two_equally_good_ones_it_is_the_smaller():
    """Both images of the withheld class are right above 3; below −5 both others are."""
    logits = np.array([[3.0, 0.0], [2.5, 0.0], [0.0, 5.0], [0.0, 4.0]])
    labels = np.array([1, 1, 0, 0])
    bias = best_bias(logits, labels, np.array([False, True]))
    assert bias == pytest.approx(4.0)


def sample(kit, seed=0, n=120):
    """A network that takes the class 3 to be rare: its logit is 3 too low."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, n)
    split = np.where(np.arange(n) % 2 == 0, "train", "test")
    logits = rng.normal(size=(n, 4)) + 2.5 * np.eye(4)[labels]
    logits[:, 3] -= 3
    bench = kit.bench(
        kit.numbered(n), labels, kit.answers(logits), classes=CLASSES, split=split.tolist()
    )
    return bench, logits, labels, split


def measure(bench, **options):
    return Withheld(WithheldOptions(set="set", domains=["grey"], **options)).measure(bench)


@pytest.mark.parametrize("seed", range(3))
def test_right_answers_are_counted_image_by_image(kit, seed):
    bench, logits, labels, split = sample(kit, seed)
    records = measure(bench, classes=["3"])
    withheld = np.arange(4) == 3
    bias = best_bias(logits[split == "train"], labels[split == "train"], withheld)
    for metric, added in (("accuracy", 0.0), ("accuracy_with_bias", bias)):
        for which, members in (("3", labels == 3), ("others", labels != 3)):
            want = [
                float(np.argmax(logits[i] + added * withheld) == labels[i])
                for i in np.flatnonzero(members & (split == "test"))
            ]
            got = kit.values(records, metric, f"domain=grey;classes={which}")
            assert got.tolist() == want
    (said,) = kit.values(records, "bias", "domain=grey;classes=3", "image set")
    assert said == pytest.approx(bias, abs=1e-5)
    known = kit.values(records, "accuracy_with_bias", "domain=grey;classes=3").mean()
    assert known > kit.values(records, "accuracy", "domain=grey;classes=3").mean() + 0.2


def test_the_claim_is_about_the_withheld_class_as_the_network_is(kit):
    bench, *_ = sample(kit)
    primary = [s for s in measure(bench, classes=["3"]).statistics if s.primary]
    assert [(s.metric, s.condition) for s in primary] == [("accuracy", "domain=grey;classes=3")]


@pytest.mark.parametrize(
    ("classes", "words"),
    [(["four"], "there is no class 'four'; the set has 0, 1, 2, 3"), (CLASSES, "not all of them")],
)
def test_classes_that_are_none_are_said(kit, classes, words):
    bench, *_ = sample(kit)
    with pytest.raises(KdpipeError, match=words):
        measure(bench, classes=classes)


def test_a_domain_without_test_images_of_the_class_is_said(kit):
    labels = np.array([0, 1, 2, 3, 0, 1])
    split = ["train"] * 4 + ["test"] * 2
    bench = kit.bench(kit.numbered(6), labels, kit.decides(labels, 4), classes=CLASSES, split=split)
    with pytest.raises(KdpipeError, match="has no test image of the class 3"):
        measure(bench, classes=["3"])
