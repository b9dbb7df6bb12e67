"""What a comparison would look like with more seeds or units."""

from __future__ import annotations

import numpy as np
import pytest

from kdpipe.results import statistics as st
from kdpipe.results.comparison import Comparison, Pairing, Term, from_units
from kdpipe.results.forecast import Forecast, forecast

NONE = np.zeros((2, 2))
UNIT = Term(np.array([[4e-4, 1e-4], [1e-4, 3e-4]]), 99)
DIST, IND = np.array([0.7, 0.74, 0.69, 0.75, 0.71]), np.array([0.6, 0.66, 0.58, 0.65, 0.63])


def made(paired: bool = False, count: int = 5) -> Comparison:
    seeds = np.arange(count)
    pairing = Pairing(seeds, seeds) if paired else None
    return Comparison(DIST[:count], IND[:count], 0.9, UNIT, 100, pairing=pairing)


@pytest.mark.parametrize("seeds", [3, 6, 40])
@pytest.mark.parametrize("paired", [False, True])
def test_means_and_spread_stay(paired, seeds):
    now = made(paired)
    then = Forecast(now, NONE, NONE).at(seeds)
    assert (len(then.dist), len(then.ind)) == (seeds, seeds)
    assert (then.diff, then.gap) == (pytest.approx(now.diff), pytest.approx(now.gap))
    for a, b in ((then.dist, now.dist), (then.ind, now.ind)):
        assert a.std(ddof=1) == pytest.approx(b.std(ddof=1))


def test_the_seed_term_falls_with_the_seeds_and_the_unit_term_does_not():
    now, then = made(), Forecast(made(), NONE, NONE).at(20)
    before, after = st.variance_terms(now), st.variance_terms(then)
    for a, b in zip(before[:2], after[:2], strict=True):
        assert b.covariance == pytest.approx(a.covariance * 5 / 20)
        assert b.df == 19
    assert after[2].covariance == pytest.approx(UNIT.covariance)


def test_paired_seeds_keep_their_covariance():
    now = made(paired=True)
    (a, _), (b, _) = (st.variance_terms(c) for c in (now, Forecast(now, NONE, NONE).at(15)))
    assert b.covariance == pytest.approx(a.covariance / 3)
    assert (a.df, b.df) == (4, 14)


def test_a_correlation_of_too_few_seeds_is_not_relied_on():
    """Below the fewest paired seeds nothing is known of it; the paired form then has the variances
    of both sides and half their degrees of freedom."""
    f = Forecast(made(paired=True, count=3), NONE, NONE)
    assert f.correlation == 0
    term = st.variance_terms(f.at(9))[0]
    want = (DIST[:3].var(ddof=1) + IND[:3].var(ddof=1)) / 9
    assert term.covariance[0, 0] == pytest.approx(want)
    assert term.df == 8


def test_units_divide_the_unit_term_alone():
    then = Forecast(made(), NONE, NONE).at(5, more=4)
    assert then.n_units == 400
    assert st.variance_terms(then)[2].covariance == pytest.approx(UNIT.covariance / 4)
    assert st.variance_terms(then)[2].df == 399
    assert st.variance_terms(then)[0].covariance == pytest.approx(
        st.variance_terms(made())[0].covariance
    )


def test_single_networks_get_more_units_only():
    now = Comparison(DIST[:1], IND[:1], 0.9, UNIT, 100)
    then = Forecast(now, NONE, NONE).at(64, more=2)
    assert (len(then.dist), then.n_units) == (1, 200)
    assert then.unit.covariance == pytest.approx(UNIT.covariance / 2)


@pytest.mark.parametrize(("k_d", "k_i"), [(3, 3), (2, 5)])
def test_what_seeds_answer_differently_on_each_unit_is_found(k_d, k_i):
    """Outcomes: a part of the unit that all share, one of the side, one of the seed on this unit.

    With variances 0.3 (side, dist alone) and 0.5 and 0.2 (seed on the unit), the unit variance of
    diff is 0.3 + 0.5/K_d + 0.2/K_i, of which the last two fall with the seeds.
    """
    rng = np.random.default_rng(3)
    n = 40_000
    unit, side = rng.standard_normal(n), np.sqrt(0.3) * rng.standard_normal(n)
    dist = unit + side + np.sqrt(0.5) * rng.standard_normal((k_d, n))
    ind = unit + np.sqrt(0.2) * rng.standard_normal((k_i, n))

    def without(i, j):
        return from_units(
            np.delete(dist, [] if i is None else i, axis=0),
            np.delete(ind, [] if j is None else j, axis=0),
            1.0,
        )

    f = forecast(without(None, None), k_d, k_i, without)
    assert n * f.mixed(k_d, k_i)[0, 0] == pytest.approx(0.5 / k_d + 0.2 / k_i, rel=0.06)
    assert n * f.at(3).unit.covariance[0, 0] == pytest.approx(0.3 + 0.7 / 3, rel=0.06)
    if k_d == k_i:
        assert n * f.at(50).unit.covariance[0, 0] == pytest.approx(0.3 + 0.7 / 50, rel=0.06)
    else:  # sides that differ in number are told apart
        assert n * f.of_dist[0, 0] == pytest.approx(0.5, rel=0.06)
        assert n * f.of_ind[0, 0] == pytest.approx(0.2, rel=0.1)


def test_without_units_nothing_is_left_out():
    now = Comparison(DIST, IND, 0.9, None, None)
    f = forecast(now, 5, 5, lambda i, j: pytest.fail("it left out a seed"))
    assert not f.mixed(5, 5).any()
