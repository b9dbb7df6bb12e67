"""Areas and false positives of unknown images against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from pydantic import ValidationError
from scipy.special import logsumexp, softmax
from sklearn.metrics import roc_auc_score, roc_curve

from kdpipe.base.errors import KdpipeError
from kdpipe.probes.base import resamples
from kdpipe.probes.ood import Ood, OodOptions
from kdpipe.probes.shared.roc import auc, false_positives

CLASSES = ["a", "b", "c", "d"]
N = 160
DOMAIN = ["grey"] * 100 + ["photo"] * 60


def reference(known, unknown):
    """Area, and false positives at the first point with 95 % true positives, as scikit-learn."""
    true, score = np.repeat([1, 0], [len(known), len(unknown)]), np.concatenate([known, unknown])
    false, right, _ = roc_curve(true, score, drop_intermediate=False)
    return roc_auc_score(true, score), false[np.flatnonzero(right >= 0.95)[0]]


def opened(kit, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, N)
    logits = np.float32(np.round(rng.normal(0, 2, (N, 4)) + 2 * np.eye(4)[labels], 1))
    logits[100:] *= 0.7
    bench = kit.bench(kit.numbered(N), labels, kit.answers(logits), classes=CLASSES, domain=DOMAIN)
    return bench, logits.astype(float), labels


def measure(bench, unknown, **more):
    options = {"set": "set", "domains": ["grey"], "replicates": 5, **more}
    return Ood(OodOptions(unknown=unknown, **options)).measure(bench)


@given(
    known=some.lists(some.integers(0, 9), min_size=1, max_size=45),
    unknown=some.lists(some.integers(0, 9), min_size=1, max_size=12),
)
@settings(max_examples=80, deadline=None)
def test_points_and_area_are_those_of_scikit_learn_with_ties(known, unknown):
    known, unknown = np.array(known, float), np.array(unknown, float)
    area, false = reference(known, unknown)
    assert auc(unknown, known) == pytest.approx(area, abs=1e-12)
    assert false_positives(known, unknown) == pytest.approx(false, abs=1e-12)


@pytest.mark.parametrize("n", [19, 20, 21, 40])
def test_the_threshold_is_reached_by_exactly_enough(n):
    """Of 20 images one may be missed, of 19 none."""
    known = np.arange(n) + 0.5
    missed = n // 20
    assert false_positives(known, np.array([missed + 0.4, missed + 0.5])) == 0.5


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("unknown", "named", "known_classes", "unknown_domain", "unknown_classes"),
    [
        ({"domains": ["photo"]}, "photo", "abcd", "photo", "abcd"),
        ({"classes": ["d", "c"]}, "c+d", "ab", "grey", "cd"),
        ({"domains": ["photo"], "classes": ["d"]}, "photo:d", "abc", "photo", "d"),
    ],
)
def test_scores_of_known_and_unknown_images(
    kit, seed, unknown, named, known_classes, unknown_domain, unknown_classes
):
    bench, logits, labels = opened(kit, seed)
    records = measure(bench, unknown)
    letters, domain = np.array(CLASSES)[labels], np.array(DOMAIN)
    inside = np.flatnonzero((domain == "grey") & np.isin(letters, list(known_classes)))
    outside = np.flatnonzero((domain == unknown_domain) & np.isin(letters, list(unknown_classes)))
    scores = {"softmax": softmax(logits, axis=1).max(1), "energy": logsumexp(logits, axis=1)}
    where = f"domain=grey;unknown={named}"
    drawn = zip(
        resamples(len(inside), 5, "known"), resamples(len(outside), 5, "unknown"), strict=True
    )
    drawn = [(inside, outside), *((inside[a], outside[b]) for a, b in drawn)]
    for name, score in scores.items():
        # As equal as they are in exact arithmetic: single bits would break ties.
        score = np.round(score, 12)
        areas, false = zip(*(reference(score[a], score[b]) for a, b in drawn), strict=True)
        for metric, expected in (("auroc", areas), ("fpr95", false)):
            (mine,) = kit.values(records, f"{metric}_{name}", where, "image set")
            assert mine == pytest.approx(expected[0], abs=1e-12)
            spread = kit.values(records, f"{metric}_{name}", where, "replicate")
            assert spread == pytest.approx(expected[1:], abs=1e-12)
            assert records.set_sizes[where, f"{metric}_{name}"] == len(inside) + len(outside)
    assert [(s.condition, s.metric, s.target) for s in records.statistics if s.primary] == [
        (where, "auroc_softmax", "teacher")
    ]


def test_a_constant_added_to_all_logits_moves_energy_alone(kit):
    """What a student of the softmax cannot learn from it: the reason why energy is not primary."""
    _, logits, labels = opened(kit)
    moved = logits + np.where(np.array(DOMAIN) == "photo", -40, 0)[:, None]
    bench = kit.bench(kit.numbered(N), labels, kit.answers(moved), classes=CLASSES, domain=DOMAIN)
    records = measure(bench, {"domains": ["photo"]})
    assert kit.values(records, "auroc_energy", unit="image set") == [1.0]
    assert kit.values(records, "fpr95_energy", unit="image set") == [0.0]
    assert kit.values(records, "auroc_softmax", unit="image set")[0] < 0.9


def test_what_cannot_be_unknown_is_refused(kit):
    bench, _, _ = opened(kit)
    with pytest.raises(ValidationError, match="name domains, classes, or both"):
        OodOptions(unknown={})
    with pytest.raises(KdpipeError, match="'grey' is known and unknown at once"):
        measure(bench, {"domains": ["grey"]})
    with pytest.raises(KdpipeError, match="no class 'z'; the set has a, b, c, d"):
        measure(bench, {"classes": ["z"]})
    with pytest.raises(KdpipeError, match="leaves no class to be known"):
        measure(bench, {"classes": CLASSES})
    with pytest.raises(KdpipeError, match="no test image of the classes"):
        measure(bench, {"classes": ["a"]}, limit=1)


def test_images_of_another_set_are_unknown_whatever_their_classes(kit):
    """Numbers 160 to 199 are of a set of one class that no network knows."""
    bench, logits, _ = opened(kit)
    further = np.float32(np.round(np.random.default_rng(9).normal(0, 2, (40, 4)), 1))
    both = np.concatenate([logits, further.astype(float)])
    bench.subject = kit.answers(both)
    numbers = kit.numbered(200)[160:]
    bench.beside["other"] = kit.write_subset(
        kit.folder / "other", numbers, [0] * 40, ["zebra"], domain=["photo"] * 30 + ["sketch"] * 10
    )
    records = measure(bench, {"set": "other", "domains": ["photo"]})
    score = np.round(softmax(both, axis=1).max(1), 12)
    area, false = reference(score[:100], score[160:190])
    where = "domain=grey;unknown=other:photo"
    for metric, want in (("auroc_softmax", area), ("fpr95_softmax", false)):
        (mine,) = kit.values(records, metric, where, "image set")
        assert mine == pytest.approx(want, abs=1e-12)
    # A domain of the same name in another set is another one.
    bench.beside["other"] = kit.write_subset(kit.folder / "other", numbers, [0] * 40, ["zebra"])
    assert measure(bench, {"set": "other", "domains": ["grey"]}, limit=20)
    with pytest.raises(ValidationError, match="all images of another set are unknown"):
        OodOptions(unknown={"set": "other", "domains": ["grey"], "classes": ["a"]})
    with pytest.raises(ValidationError, match="name the set's domains"):
        OodOptions(unknown={"set": "other"})
