"""Rows of ``transfer`` with missing, constant or equal values."""

from __future__ import annotations

import math
from itertools import product
from statistics import variance

import numpy as np
import pytest
from scipy import stats

from helpers.measured import measured, of_set, per_unit
from kdpipe.results.transfer import transfer_rows

FIRST = [1, 1, 1, 1, 1, 1, 1, 0, 0, 0]
"""Seven of ten right."""


def binary(right: int, n: int = 10) -> list[int]:
    return [1] * right + [0] * (n - right)


def one_row(*args, **options) -> dict:
    (row,) = transfer_rows([measured(*args, **options)])
    return row


def unknown(row: dict, *names: str) -> bool:
    return all(row[name] is None or np.isnan(row[name]) for name in names)


def test_one_seed_a_side_is_about_these_networks():
    """Ten units: the distilled network is right on seven, the other on one of them."""
    row = one_row([per_unit(binary(1))], {"kl": [per_unit(binary(7))]}, per_unit(binary(9)))
    assert row["scope"] == "networks"
    assert (row["diff"], row["gap"]) == pytest.approx((0.6, 0.8))
    # Six units on which they differ, all for the distilled: p = 2·(1/2)⁶.
    assert row["p_value"] == pytest.approx(2 / 64)
    assert unknown(row, "ind_std", "dist_std")
    # The gap has unit variance alone: eight differences of 1 and two of 0.
    half = stats.t.ppf(0.975, 9) * math.sqrt(variance(binary(8)) / 10)
    assert (row["gap_low"], row["gap_high"]) == pytest.approx((0.8 - half, 0.8 + half))
    assert row["verdict"] == "transferred"


def test_one_seed_with_replicates_of_a_set():
    rng = np.random.default_rng(0)
    of_dist, of_ind, of_teacher = 0.01 * rng.normal(size=(3, 100))
    row = one_row([of_set(0.2, of_ind)], {"kl": [of_set(0.3, of_dist)]}, of_set(0.4, of_teacher))
    se = math.sqrt(variance(of_dist - of_ind))
    assert row["scope"] == "networks"
    assert row["p_value"] == pytest.approx(2 * stats.t.sf(0.1 / se, 99), rel=1e-9)


def test_a_set_without_replicates_and_with_one_seed_says_nothing():
    row = one_row([of_set(0.2)], {"kl": [of_set(0.3)]}, of_set(0.4))
    assert row["diff"] == pytest.approx(0.1)
    assert unknown(row, "p_value", "diff_low", "gap_low", "closed_low", "p_adjusted")
    assert row["verdict"] == "no gap"


def test_all_units_equal_leaves_the_seeds():
    """Welch's test on the seeds' values."""
    dist, ind = [0.6, 0.7, 0.65], [0.3, 0.35]
    row = one_row(
        [per_unit([v] * 20) for v in ind], {"kl": [per_unit([v] * 20) for v in dist]},
        per_unit([0.9] * 20),
    )  # fmt: skip
    assert row["p_value"] == pytest.approx(stats.ttest_ind(dist, ind, equal_var=False).pvalue)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_networks_that_are_all_the_same(k):
    """No variance: intervals are points, p is 1, and there is no gap to close."""
    same = [per_unit(FIRST)] * k
    row = one_row(same, {"kl": same}, per_unit(FIRST))
    assert (row["diff"], row["diff_low"], row["diff_high"], row["p_value"]) == (0, 0, 0, 1)
    assert (row["gap"], row["gap_low"], row["gap_high"]) == pytest.approx((0, 0, 0), abs=1e-12)
    assert unknown(row, "gap_closed", "closed_low", "closed_high")
    assert row["verdict"] == "no gap"


def test_units_without_outcome_change_nothing_when_they_are_the_same_for_all():
    rng = np.random.default_rng(1)
    values = rng.integers(0, 2, (7, 30)).astype(float)
    holes = np.insert(values, [0, 5, 5, 30], np.nan, axis=1)

    def row(v: np.ndarray) -> dict:
        ind, dist, teacher = (list(map(per_unit, part)) for part in np.split(v, [3, 6]))
        return one_row(ind, {"kl": dist}, teacher[0])

    plain, with_holes = row(values), row(holes)
    assert with_holes["n_units"] == plain["n_units"] == 30
    for name in ("diff", "diff_low", "diff_high", "gap", "gap_low", "gap_high", "p_value"):
        assert with_holes[name] == pytest.approx(plain[name], rel=1e-12)


@pytest.mark.parametrize("missing", ["ind", "dist", "teacher"])
def test_networks_without_any_outcome(missing):
    parts = {"ind": binary(2), "dist": binary(8), "teacher": binary(9)}
    parts[missing] = [np.nan] * 10
    row = one_row(
        [per_unit(parts["ind"])] * 2, {"kl": [per_unit(parts["dist"])] * 2},
        per_unit(parts["teacher"]),
    )  # fmt: skip
    assert unknown(row, "closed_low", "gap_closed")
    assert np.isnan(row["p_value"]) == (missing != "teacher")
    assert np.isnan(row["gap"]) == (missing != "dist")
    # Without an outcome on every side nothing can be judged.
    sides = {"ind": "independent students", "dist": "the students of kl", "teacher": "the teacher"}
    assert row["verdict"] is None
    assert sides[missing] in row["reason"]


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_constant_teacher(value):
    """Always right or always wrong: only the independents make the gap uncertain."""
    rng = np.random.default_rng(2)
    ind = rng.integers(0, 2, (3, 40)).astype(float)
    dist = (rng.uniform(size=(3, 40)) < 0.2 + 0.6 * value).astype(float)
    row = one_row(
        list(map(per_unit, ind)), {"kl": list(map(per_unit, dist))}, per_unit([value] * 40)
    )
    of_seeds, of_units = variance(ind.mean(1)) / 3, variance(ind.mean(0)) / 40
    total = of_seeds + of_units
    df = total**2 / (of_seeds**2 / 2 + of_units**2 / 39)
    half = stats.t.ppf(0.975, df) * math.sqrt(total)
    gap = value - ind.mean()
    assert (row["gap_low"], row["gap_high"]) == pytest.approx((gap - half, gap + half))
    # Downwards, a share is positive too.
    assert row["gap_closed"] == pytest.approx((dist.mean() - ind.mean()) / gap)
    assert row["gap_closed"] > 0


@pytest.mark.parametrize("min_gap", [0.02, 0.2])
def test_a_gap_that_is_certain_and_small(min_gap):
    """The teacher is right on one more of ten units; everyone has the same answers otherwise."""
    ind = [per_unit(binary(5))] * 3
    row = one_row(ind, {"kl": ind}, per_unit([0.6] * 10), target="teacher", min_gap=min_gap)
    assert row["gap"] == pytest.approx(0.1)
    constant = one_row(
        [per_unit([0.5] * 10)] * 3, {"kl": [per_unit([0.5] * 10)] * 3}, per_unit([0.6] * 10),
        min_gap=min_gap,
    )  # fmt: skip
    assert constant["verdict"] == ("not transferred" if min_gap == 0.02 else "no gap")
    assert unknown(constant, "gap_closed", "closed_low") == (min_gap == 0.2)


def test_every_mix_of_seeds_and_holes_gives_rows_without_contradiction():
    """p < 0.05 just when the interval of diff excludes 0, whatever is missing."""
    rng = np.random.default_rng(3)
    for k_d, k_i, share in product((1, 2, 3), (0, 1, 3), (0.0, 0.3, 0.9)):
        values = rng.integers(0, 2, (k_d + k_i + 1, 25)).astype(float)
        values[rng.uniform(size=values.shape) < share] = np.nan
        dist, ind, teacher = np.split(values, [k_d, k_d + k_i])
        row = one_row(
            list(map(per_unit, ind)), {"kl": list(map(per_unit, dist))}, per_unit(teacher[0])
        )
        if not np.isnan(row["p_value"]):
            excludes = row["diff_low"] > 0 or row["diff_high"] < 0
            assert excludes == (row["p_value"] < 0.05)
            assert row["diff_low"] - 1e-12 <= row["diff"] <= row["diff_high"] + 1e-12
        if k_i == 0:
            assert unknown(row, "diff", "gap", "p_value")
