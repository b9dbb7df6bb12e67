"""Which of several candidates taught a student: likenesses, the test, and what is said."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats

from kdpipe.results import detective
from kdpipe.results.candidates import Found, rows
from kdpipe.results.columns import CANDIDATES
from kdpipe.results.detective import (
    MIN_ERRORS,
    Seen,
    error_likeness,
    judge,
    likenesses,
    outliers,
    place_likeness,
    soft_likeness,
)


def made(
    rng: np.random.Generator, m: int, taught: list[int | None], share: float = 0.5, n: int = 120
) -> Seen:
    """Networks of one task: ``m`` candidates, then one for each of ``taught``, which has ``share``
    of its own answers from that candidate (None: of no candidate). 5 classes, 60 lines."""
    labels = rng.integers(0, 5, n)

    def own(*shape: int) -> np.ndarray:
        of_candidates = rng.normal(size=(m, *shape))
        others = [
            rng.normal(size=shape)
            if who is None
            else share * of_candidates[who] + np.sqrt(1 - share**2) * rng.normal(size=shape)
            for who in taught
        ]
        return np.concatenate([of_candidates, np.stack(others)])

    task = 1.5 * (np.arange(5) == labels[:, None])
    lines = 1 / (1 + np.exp(-rng.normal(size=60) - own(60)))
    return Seen(
        (task + own(n, 5)).astype(np.float32),
        (rng.normal(size=(80, 5)) + own(80, 5)).astype(np.float32),
        np.round(9 * lines) / 9,
        labels,
    )


# The test


@pytest.mark.parametrize(("b", "m"), [(1, 3), (2, 2), (2, 5), (5, 4)])
def test_with_baselines_it_is_the_studentised_residual_of_statsmodels(b, m):
    table = np.random.default_rng(b).normal(size=(b + 1, m))
    found = outliers(table[0], table[1:])
    row, column = np.divmod(np.arange((b + 1) * m), m)
    design = np.column_stack(
        [
            np.ones(len(row)),
            *(row == k for k in range(1, b + 1)),
            *(column == k for k in range(1, m)),
        ]
    )
    influence = sm.OLS(table.ravel(), design.astype(float)).fit().get_influence()
    np.testing.assert_allclose(found.t, influence.resid_studentized_external[:m], rtol=1e-9)
    np.testing.assert_allclose(found.p, stats.t.sf(found.t, b * (m - 1) - 1), rtol=1e-9)


@pytest.mark.parametrize("m", [3, 5, 8])
def test_without_baselines_it_is_a_t_test_of_one_new_score_beside_the_others(m):
    """Grubbs's test, as a prediction: one observation from the law of m − 1 others."""
    scores = np.random.default_rng(m).normal(size=m)
    found = outliers(scores, np.empty((0, m)))
    for k in range(m):
        others = np.delete(scores, k)
        t = (scores[k] - others.mean()) / (others.std(ddof=1) * np.sqrt(1 + 1 / (m - 1)))
        assert found.t[k] == pytest.approx(t, rel=1e-9)
        assert found.p[k] == pytest.approx(stats.t.sf(t, m - 2), rel=1e-9)


def test_two_candidates_need_two_baselines_and_are_then_a_paired_t_test():
    rng = np.random.default_rng(4)
    student, baselines = rng.normal(size=2), rng.normal(size=(3, 2))
    assert np.isnan(outliers(student, baselines[:0]).p).all()
    assert np.isnan(outliers(student, baselines[:1]).p).all()
    apart = baselines[:, 0] - baselines[:, 1]
    t = (student[0] - student[1] - apart.mean()) / (apart.std(ddof=1) * np.sqrt(1 + 1 / 3))
    found = outliers(student, baselines)
    assert found.p[0] == pytest.approx(stats.t.sf(t, 2), rel=1e-9)
    assert found.p[1] == pytest.approx(1 - found.p[0], rel=1e-9)


def test_what_is_usual_for_a_candidate_or_a_network_does_not_count():
    rng = np.random.default_rng(2)
    table = rng.normal(size=(4, 5))
    moved = table + rng.normal(size=5) + rng.normal(size=(4, 1))
    before, after = outliers(table[0], table[1:]), outliers(moved[0], moved[1:])
    np.testing.assert_allclose(after.t, before.t, rtol=1e-9)


# Likenesses


def test_the_cosine_is_of_what_is_left_after_class_means_and_what_all_share():
    """By regression: residuals after an intercept a class and the candidates' mean."""
    logits = made(np.random.default_rng(0), 3, [0]).answers
    z = logits.astype(float) - logits.mean(2, keepdims=True)
    z /= np.sqrt((z**2).mean((1, 2), keepdims=True))
    n, classes = z.shape[1:]
    shared = z[:3].mean(0)
    columns = np.tile(np.eye(classes), (n, 1))
    design = np.column_stack([columns, (shared - shared.mean(0)).ravel()])
    left = [
        (y := (one - shared).ravel()) - design @ np.linalg.lstsq(design, y, rcond=None)[0]
        for one in z
    ]
    own = np.stack([v / np.linalg.norm(v) for v in left])
    np.testing.assert_allclose(soft_likeness(logits, [0, 1, 2]), own @ own[:3].T, atol=1e-6)


def test_confidence_and_a_constant_for_each_image_do_not_count():
    rng = np.random.default_rng(1)
    logits = made(rng, 3, [1, None]).answers
    other = logits.copy()
    for k in (1, 3):
        other[k] = 7 * other[k] + rng.normal(size=(logits.shape[1], 1))
    np.testing.assert_allclose(
        soft_likeness(other, [0, 1, 2]), soft_likeness(logits, [0, 1, 2]), atol=1e-5
    )


def test_places_of_flips_are_correlated_without_their_mean():
    flips = made(np.random.default_rng(3), 4, [2]).flips
    own = flips - flips[:4].mean(0)
    want = np.corrcoef(own)[:, :4]
    np.testing.assert_allclose(place_likeness(flips, range(4)), want, atol=1e-12)


def test_shared_errors_by_hand(monkeypatch):
    monkeypatch.setattr(detective, "MIN_ERRORS", 2)
    labels = np.array([0, 0, 0, 0])
    given = np.array(
        [
            [1, 2, 0, 0],  # first candidate, wrong on images 0 and 1
            [1, 0, 2, 3],  # second, wrong on 0, 2 and 3
            [1, 2, 2, 0],  # student: both errors of the first, two of three of the second
        ]
    )
    found = error_likeness(given, labels, [0, 1])
    np.testing.assert_allclose(found[2], [2 / 2 - 1 / 2, 2 / 3 - 1 / 3])


def test_a_candidate_with_few_errors_takes_errors_out_of_the_score():
    seen = made(np.random.default_rng(5), 3, [None])
    assert set(likenesses(seen, range(3))) == set(detective.KINDS)
    answers = seen.answers.copy()
    right = 9.0 * (np.arange(5) == seen.labels[:, None])
    answers[0] = right
    answers[0, : MIN_ERRORS - 1] = -right[: MIN_ERRORS - 1]
    fewer = Seen(answers, seen.noise, seen.flips, seen.labels)
    assert set(likenesses(fewer, range(3))) == {"answers", "noise", "boundary"}


# Students


@pytest.mark.parametrize("baselines", [0, 3])
def test_the_teacher_is_named(baselines):
    seen = made(np.random.default_rng(7), 5, [3, *[None] * baselines], share=0.6)
    found = judge(seen, range(5), 5, range(6, 6 + baselines))
    assert found.named == found.order[0] == 3
    assert found.p_adjusted[3] == pytest.approx(5 * found.p[3])
    assert found.score[3] == pytest.approx(np.mean([kind[3] for kind in found.kinds.values()]))


@pytest.mark.parametrize("baselines", [0, 3])
def test_students_from_labels_are_blamed_on_nobody(baselines):
    """Under the null p is uniform: what is below 5 % after correction is a twentieth."""
    rng = np.random.default_rng(8)
    smallest = []
    for _ in range(60):
        seen = made(rng, 4, [None] * (5 + baselines), n=60)
        judged = [judge(seen, range(4), k, range(9, 9 + baselines)) for k in range(4, 9)]
        smallest += [one.p_adjusted.min() for one in judged]
    low, high = stats.binom.interval(0.999, len(smallest), 0.05)
    assert low <= np.sum(np.array(smallest) < 0.05) <= high
    assert np.mean(np.array(smallest) < detective.LEVEL) <= 0.03


def test_one_candidate_that_is_near_to_everybody_is_blamed_for_nothing_beside_baselines():
    """The trap: candidate 0 is nearer to all networks, as the most accurate one may be."""
    seen = made(np.random.default_rng(9), 4, [0] * 8, share=0.6)
    alone = [judge(seen, range(4), k, []) for k in range(4, 8)]
    assert all(one.order[0] == 0 for one in alone)
    beside = [judge(seen, range(4), k, range(8, 12)) for k in range(4, 8)]
    assert [one.named for one in beside] == [None] * 4
    assert beside[0].usual[0] > beside[0].usual[1:].max() + 0.3


def test_there_is_no_p_where_the_test_does_not_hold():
    seen = made(np.random.default_rng(10), 2, [0, None])
    few = judge(seen, [0, 1], 2, [3])
    assert few.reason == "two candidates need two baselines, or give a third candidate"
    assert few.named is None
    assert few.order[0] == 0
    doubted = judge(made(np.random.default_rng(10), 4, [0]), range(4), 4, [], "of a doubt")
    assert doubted.reason == "of a doubt"
    assert np.isnan(doubted.p_adjusted).all()


def test_a_network_that_says_the_same_of_every_image_is_no_student():
    seen = made(np.random.default_rng(11), 3, [None])
    answers, noise = seen.answers.copy(), seen.noise.copy()
    answers[3], noise[3] = answers[3, 0], noise[3, 0]
    found = judge(Seen(answers, noise, seen.flips, seen.labels), range(3), 3, [])
    assert found.named is None
    assert found.reason is not None


def test_rows_are_ranked_and_have_the_columns_of_the_table():
    seen = made(np.random.default_rng(7), 3, [2, None, None], share=0.8)
    judged = judge(seen, range(3), 3, [4, 5])
    found = Found(["a", "b", "c"], ["x", "y"], {"s": judged}, 120, [11, 12, 13])
    table = rows(found)
    assert [set(row) for row in table] == [set(CANDIDATES.names)] * 3
    assert [row["rank"] for row in table] == [1, 2, 3]
    first = table[0]
    assert (first["candidate"], first["taught"], first["candidate_errors"]) == ("c", True, 13)
    assert found.teacher_of("s") == "c"
    assert not any(row["taught"] for row in table[1:])
