"""How well the level of a statistic is known, against scipy and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, t

from kdpipe.results.collect import SET, Outcome
from kdpipe.results.level import clopper_pearson, level


def outcome(values, unit: str = "sample", **more) -> Outcome:
    values = np.asarray(values, dtype=np.float64)
    return Outcome(unit, np.arange(len(values)), values, **more)


@given(st.integers(1, 400), st.data())
def test_a_share_of_one_network_has_the_exact_interval(n, data):
    k = data.draw(st.integers(0, n))
    found = level([outcome(np.arange(n) < k)])
    exact = binomtest(k, n).proportion_ci(0.95, "exact")
    assert found.binary
    assert (found.value, found.n) == (k / n, n)
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high), abs=1e-9)


def test_units_that_do_not_count_are_no_units():
    found = level([outcome([1, 0, np.nan, 1, np.nan])])
    exact = binomtest(2, 3).proportion_ci(0.95, "exact")
    assert (found.n, found.low) == (3, pytest.approx(exact.low))


def test_other_outcomes_of_one_network_have_a_t_interval():
    values = np.random.default_rng(0).exponential(size=50)
    found = level([outcome(values)])
    low, high = t.interval(0.95, 49, values.mean(), values.std(ddof=1) / np.sqrt(50))
    assert not found.binary
    assert (found.low, found.high) == pytest.approx((low, high))


def test_several_students_vary_with_their_seeds():
    """Without a spread between images, it is the t interval of the seeds alone."""
    levels = np.array([0.2, 0.3, 0.4, 0.5])
    found = level([outcome(np.full(10, v)) for v in levels])
    low, high = t.interval(0.95, 3, levels.mean(), levels.std(ddof=1) / 2)
    assert found.networks == 4
    assert (found.low, found.high) == pytest.approx((low, high))
    assert found.units_for(0.36) is None  # more images do not help


def test_students_that_never_err_are_not_known_for_certain():
    found = level([outcome(np.zeros(20)), outcome(np.zeros(20))])
    assert found.high == pytest.approx(binomtest(0, 20).proportion_ci(0.95, "exact").high)


def test_a_statistic_of_a_set_has_the_interval_of_its_resamples():
    resamples = np.random.default_rng(1).normal(0.1, 0.02, 500)
    more = {"replicate_ids": np.arange(500), "replicates": resamples}
    found = level([outcome([0.1], SET, set_size=80, **more)])
    half = t.ppf(0.975, 499) * resamples.std(ddof=1)
    assert (found.low, found.high) == pytest.approx((0.1 - half, 0.1 + half))
    assert found.n == 80


@pytest.mark.parametrize("values", [[0.3], [np.nan, np.nan], []])
def test_nothing_is_known_of_one_value_or_none(values):
    found = level([outcome(values)])
    assert np.isnan([found.low, found.high]).all()
    assert found.units_for(0.1) is None


def test_one_statistic_of_a_set_without_resamples_says_nothing_of_itself():
    assert np.isnan(level([outcome([0.1], SET, set_size=80)]).low)


@pytest.mark.parametrize(("k", "n", "bound"), [(0, 50, 0.02), (4, 100, 0.05), (9, 10, 0.7)])
def test_so_many_images_tell_a_share(k, n, bound):
    """With one image fewer the exact interval would still hold the bound."""
    needed = level([outcome(np.arange(n) < k)]).units_for(bound)
    assert needed is not None
    side = 1 if bound > k / n else 0
    ends = [clopper_pearson(k / n, m)[side] for m in (needed - 1, needed)]
    assert sorted([*ends, bound])[1] == bound


def test_four_times_the_images_halve_an_interval():
    values = np.tile([0.0, 0.5, 1.0, 0.7], 25)
    found = level([outcome(values)])
    half = found.high - found.value
    assert found.units_for(found.value + half / 2) == pytest.approx(400, abs=1)
    assert found.units_for(found.value) is None
