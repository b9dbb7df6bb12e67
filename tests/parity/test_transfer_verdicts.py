"""Holm, verdicts, win rates and the Ind-vs-Ind' control against hand-worked tables and loops."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest
from scipy import stats

from helpers.measured import measured, of_set, per_unit
from kdpipe.results import statistics as st
from kdpipe.results.collect import Outcome, add_win_rates
from kdpipe.results.controls import control_rows
from kdpipe.results.reasons import NOT_MEASURABLE, SMALL
from kdpipe.results.transfer import judge, transfer_rows
from kdpipe.results.win_rate import win_rates, wins

NAN = float("nan")


# Holm


@pytest.mark.parametrize(
    ("p", "want"),
    [
        # Sorted 0.005·4, 0.01·3, 0.03·2, 0.04·1; the last is raised to the one before.
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
        # Ties keep one value; products above 1 are cut.
        ([0.02, 0.02, 0.6, 0.5], [0.08, 0.08, 1.0, 1.0]),
        # One unknown p: three tests remain.
        ([NAN, 0.01, 0.02, 0.04], [NAN, 0.03, 0.04, 0.04]),
        ([0.04], [0.04]),
        ([0.0, 1.0], [0.0, 1.0]),
    ],
)
def test_holm_by_hand(p, want):
    assert st.holm(p) == pytest.approx(want, nan_ok=True)


def step_down(p: list[float], alpha: float) -> list[bool]:
    """Holm (1979): reject the smallest at α/m, the next at α/(m − 1), … and stop at the first
    that is not; no adjusted values needed."""
    rejected = [False] * len(p)
    order = sorted(range(len(p)), key=lambda i: p[i])
    for rank, i in enumerate(order):
        if p[i] > alpha / (len(p) - rank):
            break
        rejected[i] = True
    return rejected


@pytest.mark.parametrize("seed", range(20))
def test_holm_rejects_what_the_step_down_procedure_rejects(seed):
    rng = np.random.default_rng(seed)
    p = (rng.uniform(0, 1, rng.integers(1, 9)) ** 3).tolist()
    adjusted = st.holm(p)
    for alpha in (0.01, 0.05, 0.2):
        assert [q <= alpha for q in adjusted] == step_down(p, alpha)


# Verdicts

TRUTH = {
    # gap, significant, sign of the gap, closed below a tenth
    (False, False, False, False): "no gap",
    (False, False, False, True): "no gap",
    (False, False, True, False): "no gap",
    (False, False, True, True): "no gap",
    (False, True, False, False): "no gap",
    (False, True, False, True): "no gap",
    (False, True, True, False): "no gap",
    (False, True, True, True): "no gap",
    (True, True, True, False): "transferred",
    (True, True, True, True): "transferred",
    (True, True, False, False): "opposite",
    (True, True, False, True): "opposite",
    (True, False, True, True): "not transferred",
    (True, False, False, True): "not transferred",
    (True, False, True, False): "inconclusive",
    (True, False, False, False): "inconclusive",
}


def test_the_truth_table_has_every_row():
    assert set(TRUTH) == set(product((False, True), repeat=4))


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("facts", "want"), TRUTH.items())
def test_verdicts(facts, want, sign):
    """Also for p and the bound exactly on the line and unknown: neither counts as below it."""
    has_gap, significant, same, below = facts
    gap = 0.3 * sign
    diff = 0.1 * sign * (1 if same else -1)
    for p in (0.0, 0.049999) if significant else (0.05, 0.3, 1.0, NAN):
        for high in (-2.0, 0.0, 0.09999) if below else (0.1, 1.5, NAN):
            assert st.verdict(has_gap, diff, gap, p, high) == want


@pytest.mark.parametrize(
    ("gap", "low", "high", "want"),
    [
        (0.02, 0.01, 0.03, None),
        (-0.02, -0.03, -0.01, None),
        (0.0199, 0.01, 0.03, SMALL),
        (-0.0199, -0.03, -0.01, SMALL),
        (0.3, 0.0, 0.6, NOT_MEASURABLE),
        (0.3, -0.1, 0.7, NOT_MEASURABLE),
        (-0.3, -0.6, 0.0, NOT_MEASURABLE),
        (0.01, -0.1, 0.12, NOT_MEASURABLE),
        (NAN, NAN, NAN, NOT_MEASURABLE),
        (0.3, NAN, NAN, NOT_MEASURABLE),
    ],
)
def test_a_gap_that_exists(gap, low, high, want):
    assert st.no_gap(gap, st.Interval(low, high, NAN), 0.02) == want


ROWS = [
    # probe, role, primary, diff, gap, gap_low, gap_high, p, closed_high -> p_adjusted, verdict
    ("crop", "claim", True, 0.20, 0.40, 0.30, 0.50, 0.010, 0.9, 0.030, "transferred"),
    ("crop", "claim", True, -0.1, 0.40, 0.30, 0.50, 0.020, -0.1, 0.040, "opposite"),
    ("crop", "claim", True, 0.00, 0.40, 0.30, 0.50, 0.900, 0.05, 0.900, "not transferred"),
    ("crop", "control", True, 0.2, 0.40, 0.30, 0.50, 0.001, 0.9, None, None),
    ("crop", "claim", False, 0.2, 0.40, 0.30, 0.50, 0.001, 0.9, None, None),
    # 0.03 alone would do; with a second claim it is 0.06.
    ("shift", "claim", True, 0.20, 0.40, 0.30, 0.50, 0.030, 0.9, 0.060, "inconclusive"),
    ("shift", "claim", True, 0.20, 0.40, -0.1, 0.90, 0.200, NAN, 0.200, "no gap"),
    # A gap below min_gap counts as none, and still as a test of its family.
    ("cka", "claim", True, 0.01, 0.01, 0.005, 0.015, 0.001, NAN, 0.002, "no gap"),
    ("cka", "claim", True, -0.2, -0.4, -0.5, -0.3, 0.040, 0.9, 0.040, "transferred"),
]


def test_families_by_hand():
    names = ["family", "role", "primary", "diff", "gap", "gap_low", "gap_high", "p_value"]
    names.append("closed_high")
    rows = [
        dict(zip(names, row[:9], strict=True))
        | {"min_gap": 0.02, "n_seeds_ind": 3, "p_adjusted": None, "verdict": None, "reason": None}
        for row in ROWS
    ]
    judge(rows)
    for row, (*_, p, verdict) in zip(rows, ROWS, strict=True):
        assert row["p_adjusted"] == (p if p is None else pytest.approx(p))
        assert row["verdict"] == verdict
        assert (row.get("reason") is not None) == (verdict == "no gap")


def test_families_run_over_pairs_and_methods_of_a_probe():
    """Two pairs with two methods each: the smallest p counts four times."""
    rng = np.random.default_rng(0)

    def students(level: float) -> list[Outcome]:
        return [per_unit(level + rng.normal(0, 0.3, 40)) for _ in range(3)]

    found = [
        measured(
            students(0), {"kl": students(0.5), "hint": students(0.1)}, students(1)[0],
            pair=pair, probe=probe,
        )
        for pair, probe in (("one", "crop"), ("two", "crop"), ("one", "shift"))
    ]  # fmt: skip
    rows = transfer_rows(found)
    for probe, size in (("crop", 4), ("shift", 2)):
        family = [row for row in rows if row["probe"] == probe]
        assert len(family) == size
        smallest = min(family, key=lambda row: row["p_value"])
        assert smallest["p_adjusted"] == pytest.approx(size * smallest["p_value"])
        for row in family:
            assert row["p_adjusted"] >= row["p_value"]


# Win rates


def test_win_rates_by_hand():
    """Three units more: a tie with one rival, a rival without outcome, an own one missing."""
    dist = np.array([[0.9, 0.4, 0.5, NAN]])
    ind = np.array([[0.8, 0.4, NAN, 0.1], [0.9, 0.3, 0.4, 0.2], [0.1, 0.5, NAN, 0.3]])
    # 1 + 1/2 + 1 of 3; 1/2 + 1 + 0 of 3; 1 of 1; none.
    np.testing.assert_allclose(win_rates(dist, ind), [[2.5 / 3, 1.5 / 3, 1, NAN]])
    # Each against the other two.
    want = [[0.5, 0.5, NAN, 0.0], [1.0, 0.0, NAN, 0.5], [0.0, 1.0, NAN, 1.0]]
    np.testing.assert_allclose(win_rates(ind, None), want)


@pytest.mark.parametrize("seed", range(5))
def test_a_win_rate_is_a_mann_whitney_statistic(seed):
    """U of one value against the rivals counts wins as 1 and ties as ½."""
    rng = np.random.default_rng(seed)
    dist, ind = rng.integers(0, 4, (2, 15)) / 4, rng.integers(0, 4, (3, 15)) / 4
    got = win_rates(dist, ind)
    for k, j in np.ndindex(got.shape):
        u = stats.mannwhitneyu([dist[k, j]], ind[:, j], method="asymptotic").statistic
        assert got[k, j] == pytest.approx(u / 3)


def test_win_rates_of_a_study_go_by_unit_not_by_position():
    def outcome(ids, values) -> Outcome:
        return Outcome("sample", np.array(ids), np.array(values))

    ind = [outcome([1, 2, 5], [0.5, 0.5, 0.5]), outcome([2, 5, 7], [0.2, 0.9, 0.1])]
    dist = {"kl": [outcome([0, 2, 5], [0.9, 0.3, 0.7]), outcome([1, 2, 5], [0.5, 0.6, 0.95])]}
    found = add_win_rates(measured(ind, dist, target="one", win_rate="rate"))
    won = [network.outcomes["", "rate"] for network in found.dist["kl"]]
    # Units 2 and 5 have two rivals, 1 has one, 0 has none.
    assert [o.ids.tolist() for o in won] == [[0, 1, 2, 5, 7]] * 2
    np.testing.assert_array_equal(won[0].values, [NAN, NAN, 0.5, 0.5, NAN])
    np.testing.assert_array_equal(won[1].values, [NAN, 0.5, 1.0, 1.0, NAN])
    (row,) = (row for row in transfer_rows([found]) if row["metric"] == "rate")
    assert row["dist_mean"] == pytest.approx((0.5 + (0.5 + 1 + 1) / 3) / 2)
    assert row["ind_mean"] == pytest.approx(0.5)
    assert np.isnan(row["gap"])
    assert row["verdict"] is None


# Ind vs Ind'


@pytest.mark.parametrize(
    ("diff", "inside"), [(0.0, True), (0.29, True), (-0.29, True), (0.31, False), (-0.31, False)]
)
def test_control_range_by_hand(diff, inside):
    """Seeds at 0.5, 0.6 and 0.8: differences 0.1, 0.2 and 0.3, either way round."""
    ind = [of_set(v) for v in (0.5, 0.6, 0.8)]
    mean = (0.5 + 0.6 + 0.8) / 3
    found = measured(ind, {"kl": [of_set(mean + diff)] * 2}, target="one")
    (row,) = control_rows([found], transfer_rows([found]))
    assert row["n_pairs"] == 3
    assert (row["control_low"], row["control_high"]) == pytest.approx((-0.3, 0.3))
    assert row["inside"] is inside


@pytest.mark.parametrize("seeds", [0, 1, 2])
def test_too_few_independents_have_no_control_range(seeds):
    found = measured([of_set(0.1 * s) for s in range(seeds)], {"kl": [of_set(0.5)] * 2})
    (row,) = control_rows([found], transfer_rows([found]))
    assert row["n_pairs"] == seeds * (seeds - 1) // 2
    assert row["control_low"] is row["control_high"] is row["inside"] is None


def test_control_of_a_win_rate_is_one_seeds_rate_over_another():
    rng = np.random.default_rng(1)
    values = rng.integers(0, 5, (4, 30)) / 4
    found = add_win_rates(
        measured([per_unit(v) for v in values], {"kl": [per_unit(values[0])] * 2},
                 target="one", win_rate="rate")
    )  # fmt: skip
    rows = control_rows([found], transfer_rows([found]))
    (row,) = (row for row in rows if row["metric"] == "rate")
    off = []
    for a, b in combinations(values, 2):
        rate = sum(1.0 if x > y else 0.5 if x == y else 0.0 for x, y in zip(a, b, strict=True)) / 30
        off.append(abs(rate - 0.5))
    assert row["n_pairs"] == 6
    assert row["control_high"] == pytest.approx(max(off))
    assert row["control_low"] == pytest.approx(-max(off))


def test_wins_of_a_unit_without_outcome_are_unknown():
    got = wins(np.array([NAN, 0.1, NAN]), np.array([0.1, NAN, NAN]))
    assert np.isnan(got).all()
