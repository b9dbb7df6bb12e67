"""The A/A test of paired students: no effect is left, their correlation is, and errors are few."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from helpers.measured import KEY, measured, of_set, per_unit
from kdpipe.results import statistics as st
from kdpipe.results.aa_paired import (
    WORTH,
    _scatter,
    _signs,
    _without_effect,
    count_paired,
    paired_rows,
    usable,
)
from kdpipe.results.settings import Decide

LOOKS = Decide(at_most=12, looks=[3, 6, 12])


def students(seed: int, count: int = 8, n: int = 200, effect: float = 0.2, **pair):
    """Students with a start that both of a seed share, and a large effect of the method."""
    rng = np.random.default_rng(seed)
    ease = rng.normal(0, 0.2, n)
    start = rng.normal(0, 0.03, count)

    def network(k: int, more: float):
        return per_unit(0.5 + more + start[k] + rng.normal(0, 0.02) + ease + rng.normal(0, 0.1, n))

    ind, dist = ([network(k, more) for k in range(count)] for more in (0.0, effect))
    made = measured(ind, {"kl": dist}, per_unit(0.9 + ease))
    return replace(made, pair=made.pair.model_copy(update={"paired": True} | pair))


def rates(runs: int, ways: int = 8, decide: Decide | None = None, count: int = 8) -> float:
    counts = []
    for seed in range(runs):
        found = usable([students(seed, count)], decide)
        counts.append(count_paired(found, paired_rows(found, most=ways, decide=decide), ways)[-1])
    return float(np.mean([c.false for c in counts]))


def test_the_paired_rule_errs_no_more_often_than_it_allows():
    assert 0.01 < rates(50) < 0.05 + 3.4 * math.sqrt(0.05 * 0.95 / (50 * 8 * WORTH))


def test_with_looks_it_errs_no_more_often():
    rate = rates(30, decide=LOOKS, count=12)
    assert 0.002 < rate < 0.05 + 3.4 * math.sqrt(0.05 * 0.95 / (30 * 8 * WORTH))


def test_a_rule_without_seeds_is_noticed(monkeypatch):
    every = st.variance_terms
    monkeypatch.setattr(st, "variance_terms", lambda c: every(c)[-1:])
    assert rates(20) > 0.2


def test_what_the_method_does_is_gone_and_what_seeds_share_is_not():
    rng = np.random.default_rng(0)
    start = rng.normal(0, 1, (4000, 1))
    dist, ind = (more + start + rng.normal(0, 0.5, (4000, 3)) for more in (7.0, 0.0))
    signs = rng.choice([-1.0, 1.0], 4000)
    made = _scatter(np.concatenate([dist, ind]), signs)
    assert (made - ind).mean() == pytest.approx(0, abs=0.03)
    assert np.var(made - ind) == pytest.approx(2 * 0.5**2, rel=0.05)
    assert np.corrcoef(made[:, 0], ind[:, 0])[0, 1] > 0.7


def test_units_that_do_not_count_stay_so():
    both = np.array([[1.0, np.nan], [2.0, 4.0], [0.0, 1.0], [0.0, 2.0]])
    made = _scatter(both, np.array([1.0, -1.0]))
    assert np.isnan(made[0, 1])
    # Differences 1 and 2, their mean 1.5: -0.5 and +0.5 with signs + and -, times sqrt(2).
    assert made[:, 0] == pytest.approx([-0.5 * math.sqrt(2), -0.5 * math.sqrt(2)])


def test_statistics_of_sets_keep_their_replicates():
    rng = np.random.default_rng(0)

    def side(mean: float):
        return [of_set(v, v + rng.normal(0, 0.01, 30)) for v in mean + rng.normal(0, 0.1, 6)]

    made = measured(side(0.5), {"kl": side(0.8)}, of_set(0.9, np.full(30, 0.9)))
    made = replace(made, pair=made.pair.model_copy(update={"paired": True}))
    null = _without_effect(usable([made])[0], _signs(6, 8)[3])
    values = [n.outcomes[KEY].value for n in null.dist["kl"]]
    spread = [n.outcomes[KEY].replicates.mean() for n in null.dist["kl"]]
    assert spread == pytest.approx(values, abs=0.03)
    assert {row["seed_term"] for row in paired_rows(usable([made]), most=4)} == {"paired"}


def test_signs_are_all_ways_if_there_are_few():
    assert len(_signs(5, 100)) == 16
    assert len({tuple(row) for row in _signs(5, 100)}) == 16
    assert _signs(12, 40).shape == (40, 12)
    assert (_signs(12, 40)[:, 0] == 1).all()
    assert (_signs(12, 40) == _signs(12, 40)).all()


@pytest.mark.parametrize(("count", "ways"), [(5, 16), (8, 100), (12, 100)])
def test_a_way_is_worth_most_of_an_independent_trial(count, ways):
    """The variance of the share of errors over 4,000 sets of normally distributed differences."""
    from scipy.stats import t

    x = np.random.default_rng(0).standard_normal((4000, count))
    left = (x - x.mean(1, keepdims=True))[:, None, :] * _signs(count, ways)[None]
    mean, se = left.mean(2), left.std(2, ddof=1) / math.sqrt(count)
    share = (np.abs(mean) > t.ppf(0.975, count - 1) * se).mean(1)
    assert share.mean() == pytest.approx(0.05, abs=0.005)
    assert share.mean() * (1 - share.mean()) / share.var() > WORTH * ways


def test_who_is_not_paired_or_has_few_seeds_is_left_out():
    plain = students(0)
    alone = replace(plain, pair=plain.pair.model_copy(update={"paired": False}))
    control = students(1, role="control")
    assert usable([alone, control, students(2, count=4)]) == []
    assert len(usable([plain])) == 1
    assert usable([plain], LOOKS) == []
    assert count_paired([], paired_rows([])) == []


def test_claims_of_one_property_are_one_trial_for_all_methods():
    both = students(0)
    both = replace(
        both,
        dist={"kl": both.dist["kl"], "hint": both.dist["kl"]},
        pair=both.pair.model_copy(update={"methods": {"kl": [*range(8)], "hint": [*range(8)]}}),
    )
    found = usable([both])
    rows = paired_rows(found, most=10)
    counted = count_paired(found, rows, 10)[-1]
    assert (counted.claims, counted.judged, counted.trials) == (2, 20, 9)
    assert {row["p_adjusted"] >= row["p_value"] for row in rows} == {True}
