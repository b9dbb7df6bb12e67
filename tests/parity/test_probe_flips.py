"""Flips by plain counting, of the teacher and of independent students."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.measured import KEY, per_unit
from helpers.measured import measured as compared
from kdpipe.probes.base import ProbeOptions
from kdpipe.probes.copied_errors import CopiedErrors, CopiedErrorsOptions
from kdpipe.probes.flips import Flips
from kdpipe.probes.shared.records import Statistic
from kdpipe.results.collect import Outcome, add_flips
from kdpipe.results.flips import flip_rates
from kdpipe.results.transfer import transfer_rows

HIGHER, LOWER = ("", "higher"), ("", "lower")


def bench(kit, labels, student, teacher, k=4):
    return kit.bench(
        kit.numbered(len(labels)),
        labels,
        kit.decides(student, k),
        kit.decides(teacher, k),
        classes=[f"class {i}" for i in range(k)],
    )


def measure(kit, labels, student, teacher):
    options = ProbeOptions(set="set", domains=["grey"])
    return Flips(options).measure(bench(kit, labels, student, teacher))


def decisions(seed, n=150, k=4):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, k, n)
    teacher = np.where(rng.random(n) < 0.7, labels, rng.integers(0, k, n))
    return labels, np.where(rng.random(n) < 0.6, labels, rng.integers(0, k, n)), teacher


@pytest.mark.parametrize("seed", range(4))
def test_flips_are_counted_image_by_image(kit, seed):
    labels, student, teacher = decisions(seed)
    records = measure(kit, labels, student, teacher)
    negative = [i for i in range(150) if teacher[i] == labels[i] and student[i] != labels[i]]
    positive = [i for i in range(150) if teacher[i] != labels[i] and student[i] == labels[i]]
    for metric, images in (("negative_flips", negative), ("positive_flips", positive)):
        assert np.flatnonzero(kit.values(records, metric)).tolist() == images
    accuracies = [(x == labels).mean() for x in (student, teacher)]
    flips = (
        kit.values(records, "positive_flips").mean() - kit.values(records, "negative_flips").mean()
    )
    assert flips == pytest.approx(accuracies[0] - accuracies[1], abs=1e-12)
    assert abs(flips) > 0.01


def test_with_both_right_flips_are_all_images_on_which_one_is_right(kit):
    """Nothing is counted twice: both right, either flip, and both wrong are all images."""
    labels, student, teacher = decisions(7)
    flips = measure(kit, labels, student, teacher)
    options = CopiedErrorsOptions(set="set", domains=["grey"], replicates=0)
    shared = CopiedErrors(options).measure(bench(kit, labels, student, teacher))
    parts = [
        kit.values(flips, "negative_flips"),
        kit.values(flips, "positive_flips"),
        kit.values(shared, "both_right"),
        (student != labels) & (teacher != labels),
    ]
    assert np.sum(parts, axis=0).tolist() == [1] * 150


def test_the_teacher_flips_nothing_and_two_wrong_answers_are_no_flip(kit):
    labels, _, teacher = decisions(2)
    itself = measure(kit, labels, teacher, teacher)
    assert not kit.values(itself, "negative_flips").any()
    assert not kit.values(itself, "positive_flips").any()
    wrong = measure(kit, [0, 0], [1, 1], [2, 0])
    assert kit.values(wrong, "negative_flips").tolist() == [0, 1]


def test_flip_rates_by_hand():
    ind = np.array([[1, 0, 1, np.nan], [0, 0, 1, 1.0]])
    own = np.array([[1, 1, 0, 0.0]])
    higher, lower = flip_rates(own, ind, [None])
    np.testing.assert_array_equal(higher, [[0.5, 1, 0, 0]])
    np.testing.assert_array_equal(lower, [[0, 0, 1, 1]])
    higher, lower = flip_rates(own, ind, [0])
    np.testing.assert_array_equal(higher, [[1, 1, 0, 0]])
    higher, lower = flip_rates(ind, ind, [0, 1])
    np.testing.assert_array_equal(higher, [[1, 0, 0, np.nan], [0, 0, 0, np.nan]])
    np.testing.assert_array_equal(lower, [[0, 0, 0, np.nan], [1, 0, 0, np.nan]])


def study(seeds=4, paired=False, n=60):
    """Outcomes (K, n) of independent and distilled students, and their flips in a study."""
    rng = np.random.default_rng(seeds)
    ind, dist = (rng.random((2, seeds, n)) < 0.6).astype(float)
    sides = [per_unit(v) for v in ind], {"kl": [per_unit(v) for v in dist]}
    found = compared(*sides, target="none", flips=(HIGHER[1], LOWER[1]))
    found.pair.__dict__["paired"] = paired
    return ind, dist, add_flips(found)


@pytest.mark.parametrize("paired", [False, True])
def test_a_student_flips_against_independents_of_other_seeds(paired):
    ind, dist, found = study(paired=paired)
    for k, network in enumerate(found.dist["kl"]):
        rivals = [r for j, r in enumerate(ind) if j != k or not paired]
        for key, sign in ((HIGHER, 1), (LOWER, -1)):
            expected = np.mean([(sign * (dist[k] - r) > 0).mean() for r in rivals])
            assert network.outcomes[key].value == pytest.approx(expected, abs=1e-12)
        net = network.outcomes[HIGHER].value - network.outcomes[LOWER].value
        assert net == pytest.approx(dist[k].mean() - np.mean(rivals), abs=1e-12)
    for k, network in enumerate(found.ind):
        others = np.delete(ind, k, axis=0)
        expected = np.mean([(ind[k] > r).mean() for r in others])
        assert network.outcomes[HIGHER].value == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("paired", [False, True])
def test_positive_minus_negative_flips_are_the_difference_of_accuracies(paired):
    """Also over all seeds, where a paired student skips the independent one of its seed."""
    ind, dist, found = study(seeds=5, paired=paired)
    rows = {row["metric"]: row for row in transfer_rows([found])}
    net = rows["higher"]["dist_mean"] - rows["lower"]["dist_mean"]
    assert net == pytest.approx(dist.mean() - ind.mean(), abs=1e-12)
    assert net == pytest.approx(rows[KEY[1]]["diff"], abs=1e-12)
    assert rows["higher"]["ind_mean"] == pytest.approx(rows["lower"]["ind_mean"], abs=1e-12)
    assert rows["higher"]["verdict"] is None
    assert np.isnan(rows["higher"]["gap"])


def test_a_single_baseline_has_no_other_seed_to_flip_from():
    """An audit: the student's flips against the baseline are known, those of a new seed are not."""
    _, _, found = study(seeds=1)
    assert HIGHER not in found.ind[0].outcomes
    assert 0 < found.dist["kl"][0].outcomes[HIGHER].value < 1
    (row,) = (row for row in transfer_rows([found]) if row["metric"] == "higher")
    assert (row["n_seeds_dist"], row["n_seeds_ind"]) == (1, 0)
    assert np.isnan(row["diff"])
    _, _, paired = study(seeds=1, paired=True)
    assert HIGHER not in paired.dist["kl"][0].outcomes


def test_units_go_by_their_number():
    ind = [Outcome("sample", np.array([1, 2]), np.array([0.0, 1.0]))]
    dist = {"kl": [Outcome("sample", np.array([2, 3]), np.array([0.0, 1.0]))]}
    found = add_flips(compared(ind, dist, target="none", flips=("up", "down")))
    outcome = found.dist["kl"][0].outcomes["", "down"]
    assert outcome.ids.tolist() == [1, 2, 3]
    np.testing.assert_array_equal(outcome.values, [np.nan, 1, np.nan])


def test_record_files_of_other_probes_say_nothing_of_flips():
    assert "flips" not in Statistic(condition="", metric="m").model_dump()
    given = Statistic(condition="", metric="m", flips=("up", "down"))
    assert Statistic.model_validate(given.model_dump(mode="json")) == given


def test_higher_is_a_positive_flip(kit):
    """What the probe asks the tables for: names of higher first, of lower second."""
    (asked,) = (s.flips for s in measure(kit, [0], [0], [0]).statistics if s.flips)
    assert [name.partition("_")[0] for name in asked] == ["positive", "negative"]
