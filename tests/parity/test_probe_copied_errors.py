"""Copied errors by plain counting, by hand, and on students that copied nothing."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.measured import measured as compared
from helpers.measured import of_set
from kdpipe.probes.base import resamples
from kdpipe.probes.copied_errors import CopiedErrors, CopiedErrorsOptions, asymmetry
from kdpipe.probes.fidelity import Fidelity, FidelityOptions
from kdpipe.results.comparison import from_replicates
from kdpipe.results.statistics import ALPHA, diff_interval
from kdpipe.results.transfer import transfer_rows


def bench(kit, labels, student, teacher, k=4):
    return kit.bench(
        kit.numbered(len(labels)),
        labels,
        kit.decides(student, k),
        kit.decides(teacher, k),
        classes=[f"class {i}" for i in range(k)],
    )


def measure(kit, labels, student, teacher, **given):
    options = CopiedErrorsOptions(set="set", domains=["grey"], **{"replicates": 0, **given})
    return CopiedErrors(options).measure(bench(kit, labels, student, teacher))


def decisions(seed, n=150, k=4):
    """Labels, student and teacher: the student takes a third of its answers from the teacher."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, k, n)
    teacher = np.where(rng.random(n) < 0.7, labels, rng.integers(0, k, n))
    student = np.where(rng.random(n) < 0.6, labels, rng.integers(0, k, n))
    return labels, np.where(rng.random(n) < 0.3, teacher, student), teacher


@pytest.mark.parametrize("seed", range(4))
def test_every_metric_is_counted_image_by_image(kit, seed):
    labels, student, teacher = decisions(seed)
    counts = dict.fromkeys(("wrong", "right", "shared_wrong", "shared_right", "both_wrong"), 0)
    for y, s, t in zip(labels, student, teacher, strict=True):
        kind = "right" if t == y else "wrong"
        counts[kind] += 1
        counts[f"shared_{kind}"] += s == t
        counts["both_wrong"] += t != y and s != y
    records = measure(kit, labels, student, teacher)
    wrong = counts["shared_wrong"] / counts["wrong"]
    right = counts["shared_right"] / counts["right"]
    expected = {
        "shared_wrong": wrong,
        "shared_right": right,
        "same_wrong_label": counts["shared_wrong"] / counts["both_wrong"],
        "both_same_wrong": counts["shared_wrong"] / 150,
        "both_right": counts["shared_right"] / 150,
    }
    for metric, value in expected.items():
        assert np.nanmean(kit.values(records, metric)) == pytest.approx(value, abs=1e-12), metric
    (ours,) = kit.values(records, "wrong_minus_right", unit="image set")
    assert ours == pytest.approx(wrong - right, abs=1e-12)
    assert abs(ours) > 0.1


def test_shared_answers_of_both_kinds_are_the_agreement_of_fidelity(kit):
    labels, student, teacher = decisions(5)
    records = measure(kit, labels, student, teacher)
    fidelity = Fidelity(FidelityOptions(set="set", domains=["grey"]))
    agreement = kit.values(
        fidelity.measure(bench(kit, labels, student, teacher)), "top1_agreement"
    ).mean()
    both = [kit.values(records, m).mean() for m in ("both_right", "both_same_wrong")]
    assert sum(both) == pytest.approx(agreement, abs=1e-12)


def test_replicates_resample_wrong_and_right_answers_apart(kit):
    labels, student, teacher = decisions(6, n=60)
    records = measure(kit, labels, student, teacher, replicates=9)
    same, wrong = student == teacher, teacher != labels
    expected = []
    of_wrong = resamples(wrong.sum(), 9, "teacher wrong")
    of_right = resamples((~wrong).sum(), 9, "teacher right")
    for one, two in zip(of_wrong, of_right, strict=True):
        shares = [sum(k[i] for i in rows) / len(rows) for k, rows in
                  ((same[wrong], one), (same[~wrong], two))]  # fmt: skip
        expected.append(shares[0] - shares[1])
    ours = kit.values(records, "wrong_minus_right", unit="replicate")
    assert ours == pytest.approx(expected, abs=1e-12)
    assert np.std(expected) > 0.01


@pytest.mark.parametrize(
    ("student", "expected"),
    [
        ([0, 1, 2, 3], 0.0),  # the teacher itself
        ([0, 0, 0, 0], -0.5),  # always right: half of the teacher's right answers is all it has
        ([1, 0, 2, 3], 1.0),  # all errors and no right answer
        ([0, 1, 3, 2], -1.0),  # all right answers, and errors of its own
    ],
)
def test_extremes_by_hand(kit, student, expected):
    # The teacher is right on the first two images and wrong on the others.
    labels = [0, 1, 0, 0] if expected != -0.5 else [0, 1, 1, 1]
    records = measure(kit, labels, student, [0, 1, 2, 3])
    (ours,) = kit.values(records, "wrong_minus_right", unit="image set")
    assert ours == pytest.approx(expected)


@pytest.mark.parametrize("teacher", [[0, 1, 2], [1, 2, 0]])
def test_a_teacher_without_errors_or_without_right_answers_has_no_asymmetry(kit, teacher):
    records = measure(kit, [0, 1, 2], [0, 2, 2], teacher, replicates=5)
    assert np.isnan(kit.values(records, "wrong_minus_right", unit="image set")).all()
    (primary,) = (s for s in records.statistics if s.primary)
    assert primary.missing.startswith("the teacher is right on every image")
    assert "replicate" not in set(records.table()["unit"].to_pylist())


def crowd(rng, runs, seeds, n_wrong, n_right, copied=(0.0, 0.0)):
    """Whether students give the teacher's answer: (runs, seeds, images) of either kind.

    Images differ in how easily the teacher's answer is given, seeds in their skill; ``copied``:
    share of the wrong and right answers that are the teacher's by copying.
    """
    found = []
    skill = rng.normal(0, 0.3, (runs, seeds, 1))
    for n, level, share in ((n_wrong, -0.3, copied[0]), (n_right, 2.0, copied[1])):
        ease = level + 1.5 * rng.standard_normal((runs, 1, n))
        own = rng.random((runs, seeds, n)) < 1 / (1 + np.exp(-ease - skill))
        found.append(own | (rng.random((runs, seeds, n)) < share))
    return found


def found_in(halves, replicates=200):
    """Sign of the asymmetry where it is found (p < 0.05), else 0, for each run."""
    drawn = [resamples(h[0].shape[-1], replicates, f"kind {k}") for k, h in enumerate(halves)]
    weights = [np.eye(len(d[0]))[d].mean(1).T for d in drawn]
    signs = []
    for wrong, right in zip(*halves, strict=True):
        value = asymmetry(wrong, right)
        spread = wrong @ weights[0] - right @ weights[1]
        k = len(value) // 2
        c = from_replicates(value[:k], value[k:], 0.0, spread[:k], spread[k:])
        signs.append(np.sign(c.diff) if diff_interval(c).p < ALPHA else 0.0)
    return np.array(signs)


@pytest.mark.parametrize("seeds", [4, 8])
def test_two_halves_of_independents_copied_nothing_more(seeds):
    """1,000 resamplings of students and images; both signs count as found."""
    rng = np.random.default_rng(seeds)
    signs = found_in(crowd(rng, 1000, seeds, 40, 160))
    assert (signs != 0).mean() <= ALPHA
    assert (signs != 0).any()


@pytest.mark.parametrize(("copied", "sign"), [((0.5, 0.0), 1), ((0.0, 0.9), -1)])
def test_students_that_copied_answers_of_one_kind_are_found(copied, sign):
    rng = np.random.default_rng(3)
    ind = crowd(rng, 60, 4, 60, 300)
    taught = crowd(rng, 60, 4, 60, 300, copied=copied)
    halves = [np.concatenate(pair, axis=1) for pair in zip(taught, ind, strict=True)]
    signs = found_in(halves)
    assert (signs == sign).mean() > 0.5
    assert (signs != -sign).all()


def test_the_tables_take_the_independents_off():
    """What distillation adds to shared errors, minus what it adds to shared right answers."""
    ind, dist = (-0.47, -0.45, -0.43), (-0.07, -0.05, -0.03)
    sides = [of_set(v) for v in ind], {"kl": [of_set(v) for v in dist]}
    (row,) = transfer_rows([compared(*sides, target="zero")])
    assert row["diff"] == pytest.approx(0.4)
    assert row["gap"] == pytest.approx(0.45)
    assert row["gap_closed"] == pytest.approx(0.4 / 0.45)
    assert row["verdict"] == "transferred"
