"""Chances of a verdict against statsmodels and against the rule itself on simulated studies."""

from __future__ import annotations

import math

import numpy as np
import pytest
from statsmodels.stats.power import TTestIndPower, TTestPower

from kdpipe.results import power
from kdpipe.results import statistics as st
from kdpipe.results.comparison import Comparison, Pairing, Term
from kdpipe.results.forecast import Forecast
from kdpipe.results.power import Rule, chances, need

NONE = np.zeros((2, 2))
RUNS = 1000
UNIT = np.array([[1.0, 0.4], [0.4, 1.2]]) * 1e-5


def claim(
    share: float,
    gap: float = 0.2,
    spread: tuple[float, float] = (0.02, 0.02),
    correlation: float | None = None,
    unit: np.ndarray | None = None,
    df: float = 299,
    shared: float = 0.0,
) -> Forecast:
    """A claim with exactly these values. Without ``correlation`` its seeds are not paired.
    ``shared``: part of the unit term that falls with the seeds."""
    one, other = np.array([1.0, -1, 0, 0, 0, 0]), np.array([1.0, 1, -2, 0, 0, 0])
    one, other = one / one.std(ddof=1), other / other.std(ddof=1)
    r = correlation or 0.0
    seeds = np.arange(6)
    now = Comparison(
        dist=0.5 + share * gap + spread[0] * one,
        ind=0.5 + spread[1] * (r * one + math.sqrt(1 - r * r) * other),
        target=0.5 + gap,
        unit=None if unit is None else Term(unit, df),
        n_units=None if unit is None else round(df) + 1,
        pairing=None if correlation is None else Pairing(seeds, seeds),
    )
    return Forecast(now, NONE if unit is None else 6 * shared * unit, NONE)


def verdicts(
    f: Forecast, seeds: int, rule: Rule, share: float, more: float = 1.0
) -> dict[str, float]:
    """Shares of the verdicts of the rule in studies drawn with the variances of ``f``."""
    rng = np.random.default_rng([seeds, int(1e3 * abs(share))])
    now, r = f.now, f.correlation
    unit = None if now.unit is None else f.at(seeds, more).unit
    # What seeds and units share is among the draws of the seeds already.
    root = np.linalg.cholesky(unit.covariance - f.mixed(seeds, seeds) / more) if unit else NONE
    found = dict.fromkeys(("transferred", "opposite", "not transferred", "inconclusive"), 0.0)
    for _ in range(RUNS):
        off, draws = root @ rng.standard_normal(2), rng.standard_normal((2, seeds))
        draws[1] = r * draws[0] + math.sqrt(1 - r * r) * draws[1]
        c = Comparison(
            dist=0.5 + share * now.gap + off[0] + now.dist.std(ddof=1) * draws[0],
            ind=0.5 + now.ind.std(ddof=1) * draws[1],
            target=0.5 + now.gap + off[1],
            unit=unit,
            n_units=now.n_units,
            pairing=now.pairing and Pairing(np.arange(seeds), np.arange(seeds)),
        )
        p = st.diff_interval(c).p * st.ALPHA / rule.level
        has_gap = st.no_gap(c.gap, st.gap_interval(c), rule.min_gap) is None
        verdict = st.verdict(has_gap, c.diff, c.gap, p, st.closed_interval(c)[1])
        found[verdict] = found.get(verdict, 0) + 1 / RUNS
    return found


CASES = {
    "two sides": ((0.4, 0.15, (0.04, 0.04)), 1),
    "unequal sides": ((0.5, 0.15, (0.07, 0.02)), 4),
    "harm": ((-0.3, 0.25, (0.05, 0.05)), 2),
    "paired": ((0.2, 0.2, (0.04, 0.04), 0.6), 4),
    "paired, against": ((0.3, 0.2, (0.04, 0.03), -0.3), 2),
    "units": ((0.1, 0.3, (0.025, 0.015), None, UNIT), 8),
    "paired with units": ((0.12, 0.3, (0.03, 0.03), 0.5, UNIT), 2),
    "shared by seeds and units": ((0.5, 0.3, (0.01, 0.01), None, 300 * UNIT, 299, 0.9), 3),
    "nothing": ((0.0, 0.3, (0.02, 0.02), None, UNIT), 3),
    "nothing, paired": ((0.0, 0.3, (0.025, 0.02), 0.4, UNIT), 3),
    "little": ((0.02, 0.3, (0.015, 0.015), None, UNIT), 3),
}


@pytest.mark.parametrize("case", CASES)
def test_recommended_seeds_decide_four_of_five_studies(case):
    values, claims = CASES[case]
    f, rule = claim(*values), Rule(st.ALPHA / claims, 0.02)
    share = values[0]
    seeds, verdict, _ = need(f, rule, share)
    expected = chances(f, seeds, rule, share)
    found = verdicts(f, seeds, rule, share)
    assert expected.likely[0] >= 0.8
    assert found[verdict] >= 0.77
    # 3.3 standard errors of a count of 1000.
    for name, chance in zip(("transferred", "opposite", "not transferred"), expected, strict=True):
        assert found[name] == pytest.approx(chance, abs=0.042)
    if seeds > f.seeds + 1:
        assert chances(f, seeds - 1, rule, share).likely[0] < 0.8


def test_seeds_if_there_is_nothing():
    """Whatever it seems to be: the same spread with a true share of 0."""
    f, rule = claim(0.4, 0.3, (0.02, 0.02), unit=UNIT), Rule(0.05, 0.02)
    seeds, verdict, _ = need(f, rule, 0.0)
    assert verdict == "not transferred"
    expected = chances(f, seeds, rule, 0.0).refuted
    assert expected >= 0.8
    assert verdicts(f, seeds, rule, 0.0)[verdict] == pytest.approx(expected, abs=0.042)


@pytest.mark.parametrize("seeds", [12, 20, 40])
@pytest.mark.parametrize("level", [0.05, 0.01])
def test_two_sides_without_units_are_statsmodels_two_sample_t_test(seeds, level):
    """It knows that the variances are equal, which Welch's test does not."""
    share = 0.075
    want = TTestIndPower().power(share * 0.2 / 0.02, seeds, level)
    got = chances(claim(share), seeds, Rule(level, 0.0), share)
    assert got.transferred == pytest.approx(want, abs=0.006)


@pytest.mark.parametrize("seeds", [7, 12, 30])
@pytest.mark.parametrize("level", [0.05, 0.05 / 6])
def test_paired_seeds_without_units_are_statsmodels_paired_t_test(seeds, level):
    share = 0.05
    effect = share * 0.2 / (0.02 * math.sqrt(2 * (1 - 0.7)))
    got = chances(claim(share, correlation=0.7), seeds, Rule(level, 0.0), share)
    want = TTestPower().power(effect, seeds, level)
    assert got.transferred + got.opposite == pytest.approx(want, abs=2e-3)


def test_equivalence_is_a_one_sided_paired_t_test():
    """Of dist - ind - 0.1 (target - ind), below 0 at 2.5 %."""
    sd, r, seeds = 0.02, 0.7, 7
    f = claim(0.0, correlation=r)
    variance = sd**2 * (1 + 0.9**2 - 2 * 0.9 * r)
    want = TTestPower().power(0.1 * 0.2 / math.sqrt(variance), seeds, 0.025, alternative="larger")
    got = chances(f, seeds, Rule(1e-9, 0.0), 0.0)  # at this level nothing is called opposite
    assert got.refuted == pytest.approx(want, abs=2e-3)


def test_more_claims_in_a_family_take_more_seeds():
    f = claim(0.3, 0.15, (0.05, 0.05))
    needed = [need(f, Rule(st.ALPHA / m, 0.02), 0.3).seeds for m in (1, 4, 16)]
    assert needed == sorted(set(needed))


def test_where_units_forbid_a_decision_more_of_them_are_asked_for():
    f, rule = claim(0.2, 0.2, unit=40 * UNIT), Rule(0.05, 0.02)
    assert chances(f, 10_000, rule, 0.2).likely[0] < 0.8
    seeds, verdict, units = need(f, rule, 0.2)
    assert (seeds, verdict) == (None, "transferred")
    more = units / f.now.n_units
    assert chances(f, power.AT_MOST, rule, 0.2, more).likely[0] == pytest.approx(0.8, abs=0.01)
    found = verdicts(f, power.AT_MOST, rule, 0.2, more)
    assert found["transferred"] == pytest.approx(0.8, abs=0.042)


def test_where_seeds_would_do_but_too_many_no_units_are_asked_for():
    f, rule = claim(0.06, 0.2, (0.1, 0.1), unit=UNIT), Rule(0.05, 0.02)
    assert need(f, rule, 0.06) == (None, "transferred", None)
    assert need(f, rule, 0.06, at_most=5000).seeds > power.AT_MOST


def test_without_units_only_seeds_are_asked_for():
    assert need(claim(0.11, 0.2, (0.1, 0.1)), Rule(0.05, 0.02), 0.11).units is None


def test_a_gap_in_doubt_or_near_the_smallest_that_counts_takes_chances_away():
    f = claim(0.5, 0.05, (0.03, 0.03))
    clear = chances(f, 20, Rule(0.05, 0.0), 0.5).transferred
    near = chances(f, 20, Rule(0.05, 0.05), 0.5).transferred
    assert near == pytest.approx(clear / 2, rel=0.01)
    assert chances(claim(0.5, 0.005, (0.03, 0.03)), 20, Rule(0.05, 0.0), 0.5).likely[0] < 0.05


def test_a_gap_below_zero_is_as_good():
    up, down = (chances(claim(0.3, g), 8, Rule(0.05, 0.02), 0.3) for g in (0.2, -0.2))
    assert down == pytest.approx(up)


def test_without_any_variance_the_sign_decides():
    f = claim(0.3, spread=(0.0, 0.0))
    assert chances(f, 7, Rule(0.05, 0.02), 0.3) == (1, 0, 0)
    assert chances(f, 7, Rule(0.05, 0.02), 0.0) == (0, 0, 1)


def test_single_networks_are_decided_by_units():
    now = Comparison(np.array([0.6]), np.array([0.5]), 0.9, Term(400 * UNIT, 299), 300)
    f, rule = Forecast(now, NONE, NONE), Rule(0.05, 0.02)
    seeds, verdict, units = need(f, rule, 0.25)
    assert (seeds, verdict) == (None, "transferred")
    # z: (1.96 + 0.84)² variances of one unit over the squared difference.
    assert units == pytest.approx((1.96 + 0.8416) ** 2 * 300 * 400e-5 / 0.1**2, rel=0.03)
