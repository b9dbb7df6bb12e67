"""Intervals and p-values of transfer against loops, SciPy, statsmodels and closed forms.

The contract: Var(diff) = s²_dist/K_d + s²_ind/K_i + s²_unit/n, one t distribution with
Satterthwaite's degrees of freedom; Fieller (1954) for diff/gap; exact McNemar for two networks.
Tolerance 1e-9 relative, but for what is solved by root finding (1e-6) or resampled (stated there).
"""

from __future__ import annotations

import math
from fractions import Fraction
from statistics import fmean, variance

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

from kdpipe.results import statistics as st
from kdpipe.results.bootstrap import nanmean_replicates
from kdpipe.results.comparison import Comparison, Term, from_replicates, from_units


def outcomes(seed: int, k_d: int, k_i: int, n: int, binary: bool = False):
    """Distilled (k_d, n), independent (k_i, n), teacher (n,); images differ in difficulty."""
    rng = np.random.default_rng([seed, k_d, k_i, n])
    level = np.repeat([0.3, -0.3, 0.8], [k_d, k_i, 1]) + rng.normal(0, 0.1, k_d + k_i + 1)
    latent = level[:, None] + rng.normal(0, 0.7, n) + rng.normal(0, 0.7, (len(level), n))
    values = (latent > 0).astype(float) if binary else latent
    return values[:k_d], values[k_d : k_d + k_i], values[-1]


def parts(dist, ind, target, weights: tuple[float, float]) -> list[tuple[float, int]]:
    """(variance, df) of each source of variation of w0·diff + w1·gap, unit by unit.

    w0·diff + w1·gap = w0·D + w1·T − (w0 + w1)·I. ``target``: outcomes or a constant.
    """
    w0, w1 = weights
    k_d, k_i, n = len(dist), len(ind), len(dist[0])
    constant = isinstance(target, float)
    found = []
    if k_d > 1 and k_i > 1:
        found.append((w0**2 * variance(fmean(row) for row in dist) / k_d, k_d - 1))
        found.append(((w0 + w1) ** 2 * variance(fmean(row) for row in ind) / k_i, k_i - 1))
    of_units = []
    for j in range(n):
        d = sum(row[j] for row in dist) / k_d
        i = sum(row[j] for row in ind) / k_i
        t = 0.0 if constant else target[j]
        of_units.append(w0 * d + w1 * t - (w0 + w1) * i)
    found.append((variance(of_units) / n, n - 1))
    return found


def satterthwaite(found: list[tuple[float, int]]) -> tuple[float, float]:
    total = math.fsum(v for v, _ in found)
    return total, total**2 / math.fsum(v * v / df for v, df in found)


def t_interval(value: float, found: list[tuple[float, int]]) -> tuple[float, float, float]:
    total, df = satterthwaite(found)
    low, high = stats.t.interval(0.95, df, loc=value, scale=math.sqrt(total))
    return low, high, 2 * stats.t.sf(abs(value) / math.sqrt(total), df)


SIZES = [(2, 2, 30), (3, 2, 25), (2, 5, 40), (5, 3, 12), (1, 1, 20), (1, 4, 20)]
"""Distilled seeds, independent seeds, units; the last two are about these networks only."""


# diff and gap


@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize(("k_d", "k_i", "n"), SIZES)
def test_intervals_of_diff_and_gap(k_d, k_i, n, constant):
    dist, ind, teacher = outcomes(0, k_d, k_i, n)
    target = 1.0 if constant else teacher
    c = from_units(dist, ind, target)
    d, i = fmean(map(fmean, dist)), fmean(map(fmean, ind))
    t = 1.0 if constant else fmean(teacher)
    assert (c.diff, c.gap) == pytest.approx((d - i, t - i), rel=1e-9)
    assert c.scope == ("networks" if min(k_d, k_i) == 1 else "method")
    want = t_interval(d - i, parts(dist, ind, target, (1, 0)))
    assert tuple(st.diff_interval(c)) == pytest.approx(want, rel=1e-9)
    want = t_interval(t - i, parts(dist, ind, target, (0, 1)))
    assert tuple(st.gap_interval(c)) == pytest.approx(want, rel=1e-9)


@pytest.mark.parametrize(("k_d", "k_i", "n"), SIZES)
@pytest.mark.parametrize("r", [-1.0, 0.3, 1.0, 2.5])
def test_variance_and_df_of_diff_minus_a_share_of_gap(k_d, k_i, n, r):
    dist, ind, teacher = outcomes(1, k_d, k_i, n)
    got = st.contrast(st.variance_terms(from_units(dist, ind, teacher)), (1, -r))
    want = satterthwaite(parts(dist, ind, list(teacher), (1, -r)))
    assert got == pytest.approx(want, rel=1e-8)


def test_without_units_it_is_welch_as_statsmodels_has_it():
    dist, ind = [0.71, 0.74, 0.69, 0.75], [0.60, 0.68, 0.64]
    c = Comparison(np.array(dist), np.array(ind), np.nan, None, 1)
    welch = CompareMeans(DescrStatsW(dist), DescrStatsW(ind))
    _, df = st.contrast(st.variance_terms(c), (1, 0))
    assert df == pytest.approx(welch.dof_satt(), rel=1e-9)
    got = st.diff_interval(c)
    assert got.p == pytest.approx(welch.ttest_ind(usevar="unequal")[1], rel=1e-9)
    want = welch.tconfint_diff(usevar="unequal")
    assert (got.low, got.high) == pytest.approx(want, rel=1e-9)


def test_a_worked_example():
    """dist 0.6, 0.8; ind 0.4, 0.5, 0.6; s²_unit/n = 0.001 with 49 df.

    Terms: 0.02/2 = 0.01 (1 df), 0.01/3 = 0.00333 (2 df), 0.001. Variance 0.0143333;
    df = 0.0143333² / (0.01²/1 + 0.0033333²/2 + 0.001²/49) = 2.05444e-4 / 1.055760e-4 = 1.94594.
    """
    unit = Term(np.array([[0.001, 0], [0, 0.001]]), 49)
    c = Comparison(np.array([0.6, 0.8]), np.array([0.4, 0.5, 0.6]), np.nan, unit, 50)
    got = st.contrast(st.variance_terms(c), (1, 0))
    assert got == pytest.approx((0.0143333, 1.94594), rel=1e-4)


@pytest.mark.parametrize("method", ["from_units", "from_replicates"])
def test_seeds_without_any_outcome_do_not_count(method):
    dist, ind, teacher = outcomes(2, 3, 2, 30)
    hole = np.full((1, 30), np.nan)
    more_dist, more_ind = np.vstack([dist, hole]), np.vstack([hole, ind])
    if method == "from_units":
        one, two = from_units(dist, ind, teacher), from_units(more_dist, more_ind, teacher)
    else:
        d, i, nan = dist.mean(1), ind.mean(1), [np.nan]
        one = from_replicates(d, i, 3.0, dist / 9, ind / 9, teacher / 9)
        two = from_replicates(
            np.r_[d, nan], np.r_[nan, i], 3.0, more_dist / 9, more_ind / 9, teacher / 9
        )
    assert tuple(st.diff_interval(one)) == pytest.approx(tuple(st.diff_interval(two)), rel=1e-12)
    assert st.closed_interval(one) == pytest.approx(st.closed_interval(two), rel=1e-9)


# Set statistics and missing units


@pytest.mark.parametrize("constant", [False, True])
def test_replicates_give_the_unit_term(constant):
    """Covariance of (diff, gap) over the resamples, replicate by replicate."""
    rng = np.random.default_rng(3)
    dist, ind, target = rng.normal(size=(3, 80)), rng.normal(size=(2, 80)), rng.normal(size=80)
    c = from_replicates(
        np.array([0.1, 0.3, 0.2]), np.array([0.0, 0.1]), 0.5, dist, ind,
        None if constant else target,
    )  # fmt: skip
    diffs, gaps = [], []
    for b in range(80):
        i = (ind[0][b] + ind[1][b]) / 2
        diffs.append(sum(row[b] for row in dist) / 3 - i)
        gaps.append((0 if constant else target[b]) - i)
    covariance = [
        [variance(diffs), np.cov(diffs, gaps)[0, 1]],
        [np.cov(diffs, gaps)[0, 1], variance(gaps)],
    ]
    np.testing.assert_allclose(c.unit.covariance, covariance, rtol=1e-9)
    assert c.unit.df == 79
    seeds = [(variance([0.1, 0.3, 0.2]) / 3, 2), (variance([0.0, 0.1]) / 2, 1)]
    found = [*seeds, (variance(diffs), 79)]
    assert tuple(st.diff_interval(c)) == pytest.approx(t_interval(0.15, found), rel=1e-9)


def missing(seed: int = 4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    dist, ind, teacher = outcomes(seed, 2, 3, 500, binary=True)
    holes = np.random.default_rng(seed).uniform(size=(6, 500)) < 0.3
    for row, hole in zip([*dist, *ind, teacher], holes, strict=True):
        row[hole] = np.nan
    return dist, ind, teacher


def test_units_that_count_for_some_networks_only():
    """Against the delta method: a mean over own units moves by (y − ȳ)/(n·share) per unit.

    The bootstrap has 1000 replicates: its variances are right within 4·sqrt(2/1000) = 18 %.
    """
    dist, ind, teacher = missing()
    c = from_units(dist, ind, teacher)

    def influence(row: np.ndarray) -> list[float]:
        seen = [v for v in row if not math.isnan(v)]
        mean = fmean(seen)
        return [0.0 if math.isnan(v) else (v - mean) / len(seen) for v in row]

    d, i = (
        [fmean(column) for column in zip(*map(influence, side), strict=True)]
        for side in (dist, ind)
    )
    diffs = [a - b for a, b in zip(d, i, strict=True)]
    gaps = [a - b for a, b in zip(influence(teacher), i, strict=True)]
    want = [math.fsum(v * v for v in diffs), math.fsum(v * v for v in gaps)]
    assert np.diag(c.unit.covariance) == pytest.approx(want, rel=0.18)
    cross = math.fsum(a * b for a, b in zip(diffs, gaps, strict=True))
    assert c.unit.covariance[0, 1] == pytest.approx(cross, abs=0.18 * math.sqrt(want[0] * want[1]))
    assert c.unit.df == 499
    for row, mean in zip([*dist, *ind], [*c.dist, *c.ind], strict=True):
        assert mean == pytest.approx(fmean(v for v in row if not math.isnan(v)), rel=1e-12)


def test_bootstrap_has_the_standard_error_of_scipy():
    """Paired resamples of two networks with holes; both have 3000 replicates (10 %)."""
    dist, ind, _ = missing()
    a, b = dist[0], ind[0]
    replicates = nanmean_replicates(np.stack([a, b]), replicates=3000)
    want = stats.bootstrap(
        (a, b),
        lambda x, y, axis: np.nanmean(x, axis) - np.nanmean(y, axis),
        n_resamples=3000,
        paired=True,
        vectorized=True,
        method="percentile",
        rng=np.random.default_rng(0),
    )
    difference = replicates[0] - replicates[1]
    assert difference.std(ddof=1) == pytest.approx(want.standard_error, rel=0.1)
    centre = np.nanmean(a) - np.nanmean(b)
    assert difference.mean() == pytest.approx(centre, abs=4 * want.standard_error / math.sqrt(3000))


# Fieller


def quadratic(d: float, g: float, cov: np.ndarray, df: float) -> tuple[float, float] | None:
    """Roots of (d − r·g)² = t²·(v11 − 2r·v12 + r²·v22); None where they do not bound r."""
    t2 = stats.t.ppf(0.975, df) ** 2
    a = g * g - t2 * cov[1, 1]
    b = d * g - t2 * cov[0, 1]
    c = d * d - t2 * cov[0, 0]
    if a <= 0:
        return None
    root = math.sqrt(b * b - a * c)
    return (b - root) / a, (b + root) / a


@pytest.mark.parametrize("seed", range(12))
def test_fieller_with_one_source_of_variation_is_the_quadratic(seed):
    """One seed a side: the units are all there is, with one df whatever the share."""
    rng = np.random.default_rng(seed)
    d, g = rng.normal(0, 0.3), rng.choice([-1, 1]) * rng.uniform(0.1, 0.5)
    root = rng.normal(0, 0.04, (2, 2))
    cov, df = root @ root.T, int(rng.integers(3, 60))
    c = Comparison(np.array([0.4 + d]), np.array([0.4]), 0.4 + g, Term(cov, df), df + 1)
    want = quadratic(d, g, cov, df)
    if want is None:
        assert np.isnan(st.closed_interval(c)).any()
    else:
        assert st.closed_interval(c) == pytest.approx(want, rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("k_d", "k_i"), [(2, 3), (3, 3), (5, 2), (5, 5)])
def test_ends_of_fieller_are_where_the_test_of_the_share_turns(seed, k_d, k_i):
    """|diff − r·gap| = t·se at both ends; inside the test accepts r, outside it rejects."""
    dist, ind, teacher = outcomes(seed, k_d, k_i, 60)
    c = from_units(dist, ind, teacher)
    assert st.gap_interval(c).excludes_zero or k_i == 2
    if not st.gap_interval(c).excludes_zero:
        return
    low, high = st.closed_interval(c)

    def p_value(r: float) -> float:
        return t_interval(c.diff - r * c.gap, parts(dist, ind, list(teacher), (1, -r)))[2]

    assert [p_value(low), p_value(high)] == pytest.approx([0.05, 0.05], rel=1e-5)
    width = high - low
    assert all(p_value(r) > 0.05 for r in np.linspace(low, high, 9)[1:-1])
    assert all(p_value(r) < 0.05 for r in (low - 0.02 * width, high + 0.02 * width))


def test_fieller_and_p_agree_about_zero_also_where_the_df_jump():
    """Two or three seeds of very different spread; 400 gaps that are beyond doubt."""
    rng, found = np.random.default_rng(7), 0
    while found < 400:
        k, n = int(rng.integers(2, 4)), int(rng.integers(5, 200))
        of_dist, of_ind, of_units, gap = 10 ** rng.uniform(-3, -0.5, 4)
        ind = rng.normal(0, of_ind, (k, 1)) + rng.normal(0, of_units, (k, n))
        dist = rng.normal(4 * gap, of_dist, (k, 1)) + rng.normal(0, of_units, (k, n))
        c = from_units(dist, ind, 5 * gap + rng.normal(0, of_units, n))
        if not st.gap_interval(c).excludes_zero:
            continue
        found += 1
        low, high = st.closed_interval(c)
        assert low <= c.diff / c.gap <= high
        assert (low <= 0 <= high) == (st.diff_interval(c).p >= 0.05)


# Two networks


@pytest.mark.parametrize("m", [1, 2, 5, 6, 9, 17, 40])
def test_mcnemar_and_its_interval_for_every_split_of_the_units_that_differ(m):
    """p from whole numbers and from statsmodels; interval from statsmodels' Clopper-Pearson."""
    for b in range(m + 1):
        tail = sum(math.comb(m, k) for k in range(min(b, m - b) + 1))
        p = float(min(Fraction(1), Fraction(2 * tail, 2**m)))
        got = st.mcnemar(b, m - b, 120)
        assert got.p == pytest.approx(p, rel=1e-9)
        table = [[50, b], [m - b, 70 - m]]
        assert got.p == pytest.approx(min(mcnemar(table, exact=True).pvalue, 1), rel=1e-9)
        low, high = proportion_confint(b, m, alpha=0.05, method="beta")
        ends = ((2 * low - 1) * m / 120, (2 * high - 1) * m / 120)
        assert (got.low, got.high) == pytest.approx(ends, rel=1e-7, abs=1e-12)
        assert got.excludes_zero == (p < 0.05)


def test_two_binary_networks_take_mcnemar_from_their_outcomes():
    dist, ind, teacher = outcomes(5, 1, 1, 200, binary=True)
    only_dist = sum(a == 1 and b == 0 for a, b in zip(dist[0], ind[0], strict=True))
    only_ind = sum(a == 0 and b == 1 for a, b in zip(dist[0], ind[0], strict=True))
    assert only_dist != only_ind
    got = st.diff_interval(from_units(dist, ind, teacher))
    want = mcnemar([[0, only_dist], [only_ind, 0]], exact=True).pvalue
    assert got.p == pytest.approx(want, rel=1e-9)
    assert got.low < fmean(dist[0]) - fmean(ind[0]) < got.high
