"""The A/A test on independent students that nothing sets apart, and on a rule that is wrong."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from helpers.measured import measured, per_unit
from kdpipe.results import statistics as st
from kdpipe.results.aa import METHOD, _splits, _ways, aa_rows, clopper_pearson, count, usable


def students(seed: int, count: int = 8, n: int = 200, probe: str = "probe", **pair):
    """Independent students with a skill of their own, far below their teacher."""
    rng = np.random.default_rng(seed)
    ease = rng.normal(0, 0.2, n)
    ind = [per_unit(0.5 + rng.normal(0, 0.03) + ease + rng.normal(0, 0.1, n)) for _ in range(count)]
    made = measured(ind, {"kl": ind[:3]}, per_unit(0.9 + ease), probe=probe)
    return replace(made, pair=made.pair.model_copy(update=pair))


def of_studies(runs: int, splits: int = 8):
    """Counts of many studies taken together: one claim each."""
    found = [usable([students(seed)]) for seed in range(runs)]
    return [count(f, aa_rows(f, most=splits))[-1] for f in found]


def test_the_rule_errs_no_more_often_than_it_allows():
    counts = of_studies(150)
    rate = np.mean([c.false for c in counts])
    assert 0.005 < rate < 0.05 + 3.4 * math.sqrt(0.05 * 0.95 / 150)
    assert np.mean([c.no_gap for c in counts]) == 0


def test_a_rule_without_seeds_is_noticed(monkeypatch):
    """What varies from seed to seed is most of it here."""
    every = st.variance_terms
    monkeypatch.setattr(st, "variance_terms", lambda c: every(c)[-1:])
    counts = of_studies(40)
    assert np.mean([c.false for c in counts]) > 0.2
    assert np.mean([c.significant for c in counts]) > 0.2


def test_every_half_plays_once_if_there_are_few():
    found = usable([students(0, count=4)])
    rows = aa_rows(found)
    assert len(rows) == 6
    assert {row["method"] for row in rows} == {METHOD}
    assert {(row["n_seeds_dist"], row["n_seeds_ind"]) for row in rows} == {(2, 2)}
    # The other half plays in another split: differences come in pairs of opposite sign.
    assert sum(row["diff"] for row in rows) == pytest.approx(0)
    assert aa_rows(found) == rows


def test_many_students_are_split_at_random_and_always_alike():
    splits = _splits(10, 40)
    assert len(splits) == 40
    assert all(len(set(s)) == 5 for s in splits)
    assert len(set(splits)) > 30
    assert _splits(10, 40) == splits
    assert len(_splits(5, 40)) == 10
    assert all(len(s) == 2 for s in _splits(5, 40))


def test_pairs_of_one_property_are_corrected_together():
    found = usable([students(k, name=f"pair{k}") for k in range(3)])
    rows = aa_rows(found, most=1)
    assert [row["p_adjusted"] for row in rows] == pytest.approx(
        st.holm([row["p_value"] for row in rows])
    )


def test_seeds_of_two_halves_are_never_paired():
    found = usable([students(1, count=12, paired=True)])
    assert {row["seed_term"] for row in aa_rows(found, most=5)} == {"separate"}


def test_what_cannot_be_split_is_left_out():
    few, control = students(0, count=3), students(1, role="control")
    plain = students(2)
    assert usable([few, control, plain]) == [plain]
    assert aa_rows([]) == []
    assert count([], []) == []


def test_properties_are_counted_apart_and_together():
    found = usable([students(0, probe="one"), students(1, probe="two")])
    one, two, both = count(found, aa_rows(found, most=10))
    assert (one.name, two.name, both.name) == ("one", "two", "")
    assert (one.claims, both.claims, both.judged) == (1, 2, 20)
    assert both.false == pytest.approx((one.false + two.false) / 2)


def test_claims_about_the_same_students_are_one_trial():
    """A second pair with these students and another teacher is no further evidence."""
    found = usable([students(0), students(0, name="another")])
    rows = aa_rows(found)
    assert count(found, rows)[-1].trials == 35
    assert count(found[:1], [r for r in rows if r["pair"] == "pair"])[-1].trials == 35


@pytest.mark.parametrize("n", [4, 6, 8])
def test_ways_to_divide_students_are_as_good_as_independent_trials(n):
    """The variance of the share of errors over 20,000 sets of normally distributed students."""
    x = np.random.default_rng(0).standard_normal((20_000, n))
    share = np.zeros(len(x))
    for chosen in (splits := _splits(n, 100)):
        one, other = x[:, list(chosen)], np.delete(x, chosen, axis=1)
        share += stats.ttest_ind(one, other, axis=1, equal_var=False).pvalue < 0.05
    share /= len(splits)
    trials = share.mean() * (1 - share.mean()) / share.var()
    assert _ways(n, 100) == math.comb(n, n // 2) // 2
    assert trials > 0.95 * _ways(n, 100)


@pytest.mark.parametrize(("hits", "n"), [(0, 10), (1, 40), (5, 12), (7, 7)])
def test_interval_is_that_of_clopper_and_pearson(hits, n):
    want = proportion_confint(hits, n, alpha=0.05, method="beta")
    assert clopper_pearson(hits / n, n) == pytest.approx(want)
