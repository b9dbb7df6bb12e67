"""Students that are paired seed by seed: one term of the seeds in place of two."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from scipy import stats

from helpers.measured import KEY, measured, of_set, per_unit
from kdpipe.base.paths import ModelRef
from kdpipe.results import statistics as st
from kdpipe.results.columns import TRANSFER
from kdpipe.results.comparison import Comparison, Pairing, Term, from_replicates, from_units
from kdpipe.results.transfer import transfer_rows

K = st.MIN_PAIRED_SEEDS


def seeds(*numbers: int) -> np.ndarray:
    return np.array(numbers or range(K))


def values(seed: int = 0, k: int = K, correlation: float = 0.7) -> tuple[np.ndarray, np.ndarray]:
    """Values of distilled and independent students, (k,) each."""
    rng = np.random.default_rng(seed)
    ind = rng.normal(0.7, 0.02, k)
    rest = rng.normal(0, 0.02, k) * math.sqrt(1 - correlation**2)
    return 0.72 + correlation * (ind - 0.7) + rest, ind


def paired(dist, ind, target=np.nan, unit=None, numbers=None) -> Comparison:
    numbers = np.arange(len(dist)) if numbers is None else numbers
    return Comparison(dist, ind, target, unit, 1, pairing=Pairing(numbers, numbers))


@pytest.mark.parametrize("k", [K, K + 3, 12])
def test_without_units_it_is_the_paired_t_test(k):
    dist, ind = values(k=k)
    got, want = st.diff_interval(paired(dist, ind)), stats.ttest_rel(dist, ind)
    assert got.p == pytest.approx(want.pvalue, rel=1e-9)
    assert (got.low, got.high) == pytest.approx(tuple(want.confidence_interval(0.95)), rel=1e-9)


def test_the_gap_is_that_of_the_independents_alone():
    dist, ind = values()
    got, want = st.gap_interval(paired(dist, ind, 0.9)), stats.ttest_1samp(0.9 - ind, 0)
    assert got.p == pytest.approx(want.pvalue, rel=1e-9)
    assert (got.low, got.high) == pytest.approx(tuple(want.confidence_interval(0.95)), rel=1e-9)


def test_a_share_of_the_gap_is_the_paired_t_test_of_what_is_left():
    """Fieller's ends are the shares r at which d_k - i_k - r (T - i_k) has a mean of p = 0.05."""
    dist, ind = values()
    ends = st.closed_interval(paired(dist, ind, 0.9))
    assert ends[0] < (dist.mean() - ind.mean()) / (0.9 - ind.mean()) < ends[1]
    for end in ends:
        left = dist - ind - end * (0.9 - ind)
        assert stats.ttest_1samp(left, 0).pvalue == pytest.approx(st.ALPHA, rel=1e-5)


def test_seeds_and_units_add_up():
    """Variance of the differences over K, K - 1 df, beside the unit term with its own."""
    dist, ind = values()
    unit = Term(np.array([[0.0004, 0.0001], [0.0001, 0.0002]]), 299)
    of_seeds = float(np.var(dist - ind, ddof=1)) / K
    total = of_seeds + 0.0004
    df = total**2 / (of_seeds**2 / (K - 1) + 0.0004**2 / 299)
    c = paired(dist, ind, 0.9, unit)
    assert st.contrast(st.variance_terms(c), (1, 0)) == pytest.approx((total, df), rel=1e-9)
    want = stats.t.interval(0.95, df, c.diff, math.sqrt(total))
    assert tuple(st.diff_interval(c))[:2] == pytest.approx(want, rel=1e-9)


def test_the_order_of_seeds_changes_nothing():
    dist, ind = values()
    c = paired(dist, ind, 0.9)
    rng = np.random.default_rng(1)
    for _ in range(5):
        of_dist, of_ind = rng.permutation(K), rng.permutation(K)
        other = dataclasses.replace(
            c, dist=dist[of_dist], ind=ind[of_ind], pairing=Pairing(of_dist, of_ind)
        )
        assert tuple(st.diff_interval(other)) == pytest.approx(tuple(st.diff_interval(c)))
        assert st.closed_interval(other) == pytest.approx(st.closed_interval(c))


def welch(c: Comparison) -> float:
    return float(stats.ttest_ind(c.dist, c.ind, equal_var=False).pvalue)


@pytest.mark.parametrize(
    ("of_dist", "of_ind"),
    [
        (seeds(), seeds() + 1),
        (seeds(), np.arange(K + 1)),
        (np.arange(K - 1), np.arange(K - 1)),
    ],
    ids=["another seed", "a seed more", "too few"],
)
def test_otherwise_there_are_two_terms(of_dist, of_ind):
    dist, ind = values(k=K + 1)
    c = Comparison(
        dist[: len(of_dist)], ind[: len(of_ind)], 0.9, None, 1, pairing=Pairing(of_dist, of_ind)
    )
    assert st.seed_term(c) == "separate"
    assert st.diff_interval(c).p == pytest.approx(welch(c), rel=1e-9)


def test_students_that_are_not_paired_have_two_terms():
    dist, ind = values()
    c = Comparison(dist, ind, 0.9, None, 1)
    assert st.seed_term(c) == "separate"
    assert st.diff_interval(c).p == pytest.approx(welch(c), rel=1e-9)


def test_one_seed_a_side_has_no_term():
    c = paired(np.array([0.8]), np.array([0.7]))
    assert st.seed_term(c) == "none"
    assert st.variance_terms(c) == []


@pytest.mark.parametrize("side", ["dist", "ind", "both"])
def test_a_seed_without_a_value_takes_no_value_of_the_other_side_with_it(side):
    """One side: its seeds are no longer those of the other, so two terms of all that is known.
    Both: the other seeds stay paired."""
    dist, ind = (np.repeat(v[:, None], 4, axis=1) for v in values(k=K + 1))
    if side != "ind":
        dist[2] = np.nan
    if side != "dist":
        ind[2] = np.nan
    pairing = Pairing(np.arange(K + 1), np.arange(K + 1))
    of_sets = from_replicates(
        dist[:, 0], ind[:, 0], 0.9, np.empty((K + 1, 0)), np.empty((K + 1, 0)), pairing=pairing
    )
    for c in (from_units(dist, ind, 0.9, pairing), of_sets):
        known = [v[~np.isnan(v)] for v in (dist[:, 0], ind[:, 0])]
        assert (len(c.dist), len(c.ind)) == tuple(map(len, known))
        assert st.seed_term(c) == ("paired" if side == "both" else "separate")
        want = stats.ttest_rel(*known).pvalue if side == "both" else welch(c)
        assert st.diff_interval(c).p == pytest.approx(want, rel=1e-6)


# The table


def study(dist, ind, *, kind=per_unit, **options) -> dict:
    """The row of ``transfer`` for values by seed; every unit has the network's value."""
    made = [[kind(v) for v in side] for side in (dist, ind)]
    found = measured(made[1], {"kl": made[0]}, **options)
    return transfer_rows(
        [dataclasses.replace(found, pair=found.pair.model_copy(update={"paired": True}))]
    )[0]


def test_the_table_says_which_form_was_used():
    dist, ind = values()
    row = study(np.repeat(dist[:, None], 3, axis=1), np.repeat(ind[:, None], 3, axis=1))
    assert row["seed_term"] == "paired"
    assert row["p_value"] == pytest.approx(stats.ttest_rel(dist, ind).pvalue, rel=1e-6)
    row = study(dist, ind, kind=of_set)
    assert row["seed_term"] == "paired"
    assert row["p_value"] == pytest.approx(stats.ttest_rel(dist, ind).pvalue, rel=1e-9)
    few = slice(K - 1)
    assert study(dist[few], ind[few], kind=of_set)["seed_term"] == "separate"
    assert study(dist[:1], ind[:1], kind=of_set)["seed_term"] == "none"


def test_a_seed_that_lacks_the_statistic_is_found_by_its_number():
    """Seed 1 of the distilled and seed 3 of the independent students have no such statistic."""
    dist, ind = values(k=K + 1)
    found = measured([of_set(v) for v in ind], {"kl": [of_set(v) for v in dist]})
    found = dataclasses.replace(found, pair=found.pair.model_copy(update={"paired": True}))
    del found.dist["kl"][1].outcomes[KEY]
    assert transfer_rows([found])[0]["seed_term"] == "separate"
    del found.ind[1].outcomes[KEY]
    (row,) = transfer_rows([found])
    assert row["seed_term"] == "paired"
    want = stats.ttest_rel(np.delete(dist, 1), np.delete(ind, 1)).pvalue
    assert row["p_value"] == pytest.approx(want, rel=1e-9)


def test_given_students_are_not_paired():
    found = measured([], {"kl": []})
    given = {"kl": {0: ModelRef(model="theirs")}}
    pair = found.pair.model_copy(update={"paired": True, "taken": given})
    assert not pair.is_paired("kl")
    assert pair.is_paired("hint")


def test_the_column_names_the_number_of_seeds():
    (column,) = [c for c in TRANSFER.columns if c.name == "seed_term"]
    assert f"at least {K};" in column.description
