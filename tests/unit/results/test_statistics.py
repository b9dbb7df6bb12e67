"""The statistics of transfer against closed forms, other libraries and simulation.

Long, because all statistics of a claim are tried on the same comparisons.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from hypothesis.extra import numpy as arrays
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as reference_mcnemar

from kdpipe.results import statistics as st
from kdpipe.results.bootstrap import nanmean_replicates
from kdpipe.results.collect import Outcome
from kdpipe.results.comparison import Comparison, Term, from_replicates, from_units
from kdpipe.results.reasons import NOT_MEASURABLE, SMALL
from kdpipe.results.transfer import compare
from kdpipe.results.win_rate import win_rates, wins


@pytest.fixture(autouse=True)
def _no_numpy_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def of_seeds(dist, ind, target=np.nan, unit=None) -> Comparison:
    return Comparison(np.array(dist), np.array(ind), target, unit, n_units=1)


# Closed forms


def test_without_unit_variance_it_is_welch():
    dist, ind = np.array([0.71, 0.74, 0.69, 0.75]), np.array([0.60, 0.68, 0.64])
    got = st.diff_interval(of_seeds(dist, ind))
    want = stats.ttest_ind(dist, ind, equal_var=False)
    assert got.p == pytest.approx(want.pvalue, rel=1e-9)
    assert (got.low, got.high) == pytest.approx(tuple(want.confidence_interval(0.95)))


def test_constant_units_are_welch_too():
    dist = np.repeat([[0.71], [0.74]], 40, axis=1)
    ind = np.repeat([[0.60], [0.68]], 40, axis=1)
    want = stats.ttest_ind(dist[:, 0], ind[:, 0], equal_var=False)
    assert st.diff_interval(from_units(dist, ind)).p == pytest.approx(want.pvalue, rel=1e-6)


def test_without_seed_variance_it_is_the_paired_t_test_over_units():
    rng = np.random.default_rng(1)
    a, b = rng.normal(0.2, 1, 50), rng.normal(0, 1, 50)
    # The same network three times: seed variance is exactly 0.
    c = from_units(np.stack([a, a, a]), np.stack([b, b]))
    got, want = st.diff_interval(c), stats.ttest_rel(a, b)
    assert got.p == pytest.approx(want.pvalue, rel=1e-9)
    assert (got.low, got.high) == pytest.approx(tuple(want.confidence_interval(0.95)))
    assert c.scope == "method"


def test_variance_is_the_sum_of_the_contract():
    rng = np.random.default_rng(2)
    dist, ind = rng.normal(0, 1, (3, 30)), rng.normal(0, 1, (2, 30))
    parts = [
        (dist.mean(axis=1).var(ddof=1) / 3, 2),
        (ind.mean(axis=1).var(ddof=1) / 2, 1),
        ((dist.mean(axis=0) - ind.mean(axis=0)).var(ddof=1) / 30, 29),
    ]
    variance = sum(v for v, _ in parts)
    df = variance**2 / sum(v**2 / f for v, f in parts)
    got = st.contrast(st.variance_terms(from_units(dist, ind)), (1, 0))
    assert got == pytest.approx((variance, df))


def test_gap_shares_the_independents_with_diff():
    rng = np.random.default_rng(3)
    dist, ind, teacher = rng.normal(0, 1, (3, 30)), rng.normal(0, 1, (2, 30)), rng.normal(1, 1, 30)
    terms = st.variance_terms(from_units(dist, ind, teacher))
    seeds_ind = ind.mean(axis=1).var(ddof=1) / 2
    i = ind.mean(axis=0)
    variance, _ = st.contrast(terms, (0, 1))
    assert variance == pytest.approx(seeds_ind + (teacher - i).var(ddof=1) / 30)
    # diff - gap = D - T does not contain the independents at all.
    variance, _ = st.contrast(terms, (1, -1))
    seeds_dist = dist.mean(axis=1).var(ddof=1) / 3
    assert variance == pytest.approx(seeds_dist + (dist.mean(axis=0) - teacher).var(ddof=1) / 30)


def test_constant_target_has_no_variance_of_its_own():
    ind = np.random.default_rng(4).uniform(0, 1, (3, 25))
    c = from_units(ind + 0.1, ind, 1.0)
    assert c.target == 1.0
    want = ind.mean(axis=1).var(ddof=1) / 3 + ind.mean(axis=0).var(ddof=1) / 25
    assert st.contrast(st.variance_terms(c), (0, 1))[0] == pytest.approx(want)


# Fieller


def test_a_distance_from_the_teacher_has_the_target_zero():
    """Half as far as the independents: half of the gap, which is minus their distance."""
    far, near = (
        [Outcome("sample", np.arange(3), np.full(3, d)) for d in distances]
        for distances in ((1.5, 2.5), (0.5, 1.5))
    )
    found = compare(near, far, teacher=None, target="zero")
    assert found.gap == -2.0
    assert found.diff / found.gap == 0.5


def test_fieller_solves_its_quadratic():
    """With equal and large df everywhere the interval is the textbook one."""
    cov, df = np.array([[0.002, 0.0005], [0.0005, 0.001]]), 1e7
    c = of_seeds([0.3], [0.1], target=0.6, unit=Term(cov, df))
    d, g, t2 = 0.2, 0.5, stats.norm.ppf(0.975) ** 2
    roots = np.roots([g**2 - t2 * cov[1, 1], -2 * (d * g - t2 * cov[0, 1]), d**2 - t2 * cov[0, 0]])
    assert st.closed_interval(c) == pytest.approx(tuple(sorted(roots)), rel=1e-5)


@settings(max_examples=60, deadline=None)
@given(some.integers(0, 10_000), some.floats(-0.5, 1.5), some.integers(2, 5))
def test_fieller_agrees_with_the_intervals_of_diff_and_gap(seed, share, k):
    rng = np.random.default_rng(seed)
    ind = rng.normal(0, 0.05, (k, 1)) + rng.normal(0, 0.3, (k, 20))
    teacher = rng.normal(1, 0.3, 20)
    dist = share + rng.normal(0, 0.05, (k, 1)) + rng.normal(0, 0.3, (k, 20))
    c = from_units(dist, ind, teacher)
    low, high = st.closed_interval(c)
    if not st.gap_interval(c).excludes_zero:
        return
    assert low <= c.diff / c.gap <= high
    assert (low > 0 or high < 0) == st.diff_interval(c).excludes_zero


def test_fieller_reaches_to_zero_where_the_interval_of_diff_does():
    """Independents that vary and distilled ones that do not: the df jump near a share of 1, and
    0 is accepted though some shares between 0 and 1 are not."""
    unit = Term(np.array([[1.0e-4, 0.4e-4], [0.4e-4, 2.4e-4]]), 153)
    c = of_seeds([-0.007, 0.0095, -0.0005], [-0.112, -0.187, -0.07], target=0.0, unit=unit)
    diff, (low, high) = st.diff_interval(c), st.closed_interval(c)
    assert st.gap_interval(c).excludes_zero
    assert not diff.excludes_zero
    assert low <= 0 < 1 < high


def test_fieller_is_unbounded_when_the_gap_may_be_zero():
    c = of_seeds([0.3], [0.1], target=0.15, unit=Term(np.eye(2), 50))
    assert np.isnan(st.closed_interval(c)).all()


def test_fieller_covers():
    rng, truth, hits, sims = np.random.default_rng(5), 0.4, 0, 400
    for _ in range(sims):
        ind = rng.normal(0, 0.02, (3, 1)) + rng.normal(0, 0.2, (3, 60))
        teacher = 0.5 + rng.normal(0, 0.2, 60)
        dist = 0.5 * truth + rng.normal(0, 0.02, (3, 1)) + rng.normal(0, 0.2, (3, 60))
        # The targets are fixed in truth; units are drawn anew each time.
        low, high = st.closed_interval(from_units(dist, ind, teacher))
        hits += low <= truth <= high
    assert hits / sims > 0.92


# Two networks


@settings(max_examples=60, deadline=None)
@given(some.integers(0, 40), some.integers(0, 40))
def test_mcnemar_is_exact(only_dist, only_ind):
    got = st.mcnemar(only_dist, only_ind, 100)
    want = reference_mcnemar([[5, only_dist], [only_ind, 7]], exact=True).pvalue
    assert got.p == pytest.approx(min(want, 1), rel=1e-9)
    assert got.low <= (only_dist - only_ind) / 100 <= got.high
    assert got.excludes_zero == (got.p < 0.05)
    if only_dist + only_ind:
        exact = stats.binomtest(only_dist, only_dist + only_ind).proportion_ci(0.95, "exact")
        share = (only_dist + only_ind) / 100
        assert got.low == pytest.approx((2 * exact.low - 1) * share)
        assert got.high == pytest.approx((2 * exact.high - 1) * share)


def test_one_binary_network_a_side_takes_mcnemar():
    dist = np.array([[1, 1, 1, 1, 1, 1, 0, 0, np.nan]])
    ind = np.array([[0, 0, 0, 0, 0, 0, 1, 0, np.nan]])
    c = from_units(dist, ind)
    assert (c.scope, c.discordant, c.n_units) == ("networks", (6, 1), 8)
    assert st.diff_interval(c).p == pytest.approx(stats.binomtest(6, 7).pvalue)


def test_one_network_a_side_with_graded_outcomes_takes_the_paired_t_test():
    rng = np.random.default_rng(6)
    a, b = rng.uniform(0, 1, (2, 30))
    c = from_units(a[None], b[None])
    assert c.discordant is None
    assert st.diff_interval(c).p == pytest.approx(stats.ttest_rel(a, b).pvalue)


def test_one_seed_against_several_is_about_these_networks():
    c = from_units(np.ones((1, 4)), np.zeros((3, 4)))
    assert c.scope == "networks"
    assert len(st.variance_terms(c)) == 1


# Missing units, sets


def test_units_that_never_count_are_left_out():
    rng = np.random.default_rng(7)
    dist, ind = rng.normal(0, 1, (2, 12)), rng.normal(0, 1, (2, 12))
    want = st.diff_interval(from_units(dist, ind))
    hole = np.full((2, 5), np.nan)
    c = from_units(np.hstack([dist, hole]), np.hstack([ind, hole]))
    assert c.n_units == 12
    assert st.diff_interval(c) == pytest.approx(want)


def test_bootstrap_reproduces_the_closed_form():
    values = np.random.default_rng(8).normal(0, 1, (2, 400))
    replicates = nanmean_replicates(values, replicates=4000)
    want = (values[0] - values[1]).var() / 400
    assert (replicates[0] - replicates[1]).var() == pytest.approx(want, rel=0.1)
    np.testing.assert_array_equal(replicates, nanmean_replicates(values, replicates=4000))


def test_differing_units_use_the_bootstrap():
    rng = np.random.default_rng(9)
    values = rng.binomial(1, 0.4, (4, 300)).astype(float)
    values[rng.uniform(size=values.shape) < 0.3] = np.nan
    c = from_units(values[:2], values[2:])
    assert c.dist == pytest.approx(np.nanmean(values[:2], axis=1))
    # Each network's mean rests on about 210 of 300 units, independently of the others.
    assert c.unit is not None
    assert c.unit.covariance[0, 0] == pytest.approx(4 * 0.24 / 210 / 4, rel=0.25)
    assert c.n_units == np.isfinite(values).any(axis=0).sum()


def test_replicates_give_the_unit_term():
    rng = np.random.default_rng(10)
    dist, ind, target = (
        rng.normal(0, 1, (3, 200)),
        rng.normal(0, 1, (2, 200)),
        rng.normal(0, 1, 200),
    )
    c = from_replicates(np.array([0.1, 0.2, 0.3]), np.array([0.0, 0.1]), 1.0, dist, ind, target)
    d, i = dist.mean(axis=0), ind.mean(axis=0)
    assert c.unit is not None
    np.testing.assert_allclose(c.unit.covariance, np.cov(d - i, target - i))
    seeds = 0.01 / 3 + 0.005 / 2
    got, _ = st.contrast(st.variance_terms(c), (1, 0))
    assert got == pytest.approx(seeds + (d - i).var(ddof=1))


def test_set_without_replicates_rests_on_the_seeds():
    none = np.empty((2, 0))
    c = from_replicates(np.array([0.3, 0.4]), np.array([0.1, 0.2]), np.nan, none, none)
    want = stats.ttest_ind([0.3, 0.4], [0.1, 0.2], equal_var=False).pvalue
    assert st.diff_interval(c).p == pytest.approx(want)


# Degenerate inputs


def test_no_variance_and_no_difference():
    c = from_units(np.ones((2, 5)), np.ones((3, 5)), 1.0)
    assert st.diff_interval(c) == (0, 0, 1)
    assert st.gap_interval(c) == (0, 0, 1)
    assert np.isnan(st.closed_interval(c)).all()


def test_no_variance_but_a_difference():
    c = from_units(np.full((2, 5), 0.5), np.zeros((3, 5)), 1.0)
    assert st.diff_interval(c) == (0.5, 0.5, 0)
    assert st.closed_interval(c) == (0.5, 0.5)


def test_rounding_is_not_a_difference():
    c = from_units(np.full((2, 3), 0.1 + 0.2), np.full((2, 3), 0.3))
    assert st.diff_interval(c).p == 1


def test_student_equal_to_its_teacher_closes_the_gap_exactly():
    teacher = np.array([1.0, 1, 1, 1, 0])
    c = from_units(
        np.stack([teacher, teacher]), np.array([[0.0, 0, 0, 1, 0], [0, 0, 1, 0, 0]]), teacher
    )
    assert st.closed_interval(c) == pytest.approx((1, 1))


def test_one_unit_and_one_network_say_nothing():
    c = from_units(np.array([[0.7]]), np.array([[0.2]]), np.array([0.9]))
    assert c.diff == pytest.approx(0.5)
    assert np.isnan(st.diff_interval(c)).all()
    assert np.isnan(st.closed_interval(c)).all()


@pytest.mark.parametrize("side", [0, 1, 2])
def test_all_nan(side):
    parts = [np.ones((2, 4)), np.zeros((2, 4)), np.ones((1, 4))]
    parts[side] = np.full_like(parts[side], np.nan)
    c = from_units(parts[0], parts[1], parts[2][0])
    assert np.isnan(st.diff_interval(c).p) == (side < 2)
    assert np.isnan(st.gap_interval(c).p) == (side > 0)
    assert np.isnan(st.closed_interval(c)).all()


@settings(max_examples=150, deadline=None)
@given(some.data())
def test_nothing_raises_or_warns(data):
    n = data.draw(some.integers(1, 6))
    outcome = some.sampled_from([0.0, 1.0, 0.25, float("nan")])
    draw = lambda k: data.draw(arrays.arrays(float, (k, n), elements=outcome))  # noqa: E731
    dist, ind = draw(data.draw(some.integers(1, 3))), draw(data.draw(some.integers(1, 3)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        c = from_units(dist, ind, draw(1)[0])
        diff = st.diff_interval(c)
        st.gap_interval(c)
        st.closed_interval(c)
    if np.isfinite(diff.p):
        assert 0 <= diff.p <= 1
        assert diff.low - 1e-9 <= c.diff <= diff.high + 1e-9
        assert (diff.p < 0.05) == diff.excludes_zero


# Simulation


def simulated(rng, k, n, effect=0.0, seed_std=0.03):
    """Binary outcomes of k + k networks: images differ in difficulty, networks in skill."""
    ease = rng.uniform(0.3, 0.9, n)
    skill = rng.normal(0, seed_std, (2 * k, 1))
    skill[:k] += effect
    outcomes = (rng.uniform(size=(2 * k, n)) < ease + skill).astype(float)
    return outcomes[:k], outcomes[k:]


@pytest.mark.parametrize("k", [2, 3, 5])
def test_intervals_cover_and_p_values_hold_their_level(k):
    rng, sims, effect = np.random.default_rng(11), 1500, 0.05
    hits = false = 0
    for _ in range(sims):
        got = st.diff_interval(from_units(*simulated(rng, k, 100, effect)))
        hits += got.low <= effect <= got.high
        false += st.diff_interval(from_units(*simulated(rng, k, 100))).p < 0.05
    # Three standard errors of 1500 simulations are 0.017; the rule errs on the careful side.
    assert hits / sims > 0.93
    assert false / sims < 0.067


def test_leaving_out_the_seeds_is_noticed(monkeypatch):
    """Units alone call seed noise an effect; this is what the seed terms are for."""

    def false_positives():
        rng = np.random.default_rng(12)
        runs = [from_units(*simulated(rng, 2, 2000, seed_std=0.03)) for _ in range(200)]
        return np.mean([st.diff_interval(c).p < 0.05 for c in runs])

    assert false_positives() < 0.1
    monkeypatch.setattr(st, "variance_terms", lambda c: [c.unit])
    assert false_positives() > 0.4


# Holm, verdicts, win rates


def test_holm_by_hand_and_without_the_unknown():
    got = st.holm([0.01, float("nan"), 0.04, 0.03])
    assert got[:1] + got[2:] == pytest.approx([0.03, 0.06, 0.06])
    assert np.isnan(got[1])
    assert st.holm([]) == []
    assert np.isnan(st.holm([float("nan")])).all()


NAN = float("nan")


@pytest.mark.parametrize(
    ("has_gap", "diff", "gap", "p", "closed_high", "want"),
    [
        (False, 0.3, 0.3, 0.001, 2.0, "no gap"),
        (True, 0.2, 0.3, 0.01, 0.9, "transferred"),
        (True, -0.2, -0.3, 0.01, 0.9, "transferred"),
        (True, -0.2, 0.3, 0.01, -0.1, "opposite"),
        (True, 0.01, 0.3, 0.01, 0.05, "transferred"),
        (True, 0.001, 0.3, 0.6, 0.05, "not transferred"),
        (True, 0.001, 0.3, 0.05, 0.0999, "not transferred"),
        (True, 0.03, 0.3, 0.2, 0.1, "inconclusive"),
        (True, 0.03, 0.3, NAN, NAN, "inconclusive"),
    ],
)
def test_verdicts(has_gap, diff, gap, p, closed_high, want):
    assert st.verdict(has_gap, diff, gap, p, closed_high) == want


def test_a_gap_is_beyond_doubt_and_large_enough():
    sure, unsure = st.Interval(0.01, 0.05, 0.01), st.Interval(-0.01, 0.5, 0.06)
    assert st.no_gap(0.03, sure, 0.02) is None
    assert st.no_gap(0.015, sure, 0.02) == SMALL
    assert st.no_gap(0.2, unsure, 0.02) == NOT_MEASURABLE
    assert st.no_gap(NAN, st.UNKNOWN, 0.02) == NOT_MEASURABLE


def test_win_rates_by_hand():
    assert wins(np.array([1.0, 0.5, 0.2, NAN]), np.array([0.0, 0.5, 0.9, 0.1])) == pytest.approx(
        [1, 0.5, 0, NAN], nan_ok=True
    )
    dist, ind = np.array([[0.9, 0.1]]), np.array([[0.5, 0.1], [0.95, 0.0]])
    np.testing.assert_array_equal(win_rates(dist, ind), [[0.5, 0.75]])
    np.testing.assert_array_equal(win_rates(ind, None), [[0, 1], [1, 0]])
    np.testing.assert_array_equal(win_rates(dist, None), [[0.5, 0.5]])


@given(arrays.arrays(float, (3, 4), elements=some.floats(-1, 1)))
def test_independents_win_half_of_the_time(values):
    assert win_rates(values, None).mean(axis=0) == pytest.approx(np.full(4, 0.5))
