"""How often the paired and the separate seed term err, in ``benchmarks/paired_students.py``.

The script repeats the formulas for many studies at once; the first test holds them against
kdpipe's. Bands are those of a binomial count at z = 3.4; seeds are fixed. 100,000 studies a cell,
for every number of seeds, are in ``benchmarks/results/paired_students.csv``.
"""

from __future__ import annotations

import csv
import importlib.util
import math
import sys

import numpy as np
import pytest

from helpers.places import BENCHMARKS
from kdpipe.results import statistics as st
from kdpipe.results.comparison import Comparison, Pairing, Term

spec = importlib.util.spec_from_file_location("paired_students", BENCHMARKS / "paired_students.py")
assert spec is not None
assert spec.loader is not None
ps = importlib.util.module_from_spec(spec)
sys.modules["paired_students"] = ps
spec.loader.exec_module(ps)

K = st.MIN_PAIRED_SEEDS
RUNS = 20_000
WORLDS = [
    ps.World(K, rho, ratio, images)
    for rho in ps.CORRELATIONS
    for ratio, images in ((1.0, 0.0), (4.0, 0.25), (0.25, 1.0))
]


def band(rate: float) -> float:
    return 3.4 * math.sqrt(rate * (1 - rate) / RUNS)


@pytest.mark.parametrize("images", [0.0, 0.5])
@pytest.mark.parametrize("form", ["paired", "separate"])
def test_the_script_has_the_formulas_of_the_tables(form, images):
    studies = ps.draw(ps.World(K, 0.3, 4.0, images), 40, np.random.default_rng(3))
    diffs = studies.dist.mean(1) - studies.ind.mean(1)
    gaps = studies.target - studies.ind.mean(1)
    share = 0.3
    got = {
        weights: ps.p_values(
            weights[0] * diffs + weights[1] * gaps, studies.contrast(weights, form == "paired")
        )
        for weights in ((1, 0), (0, 1), (1, -share))
    }
    for run in range(40):
        seeds = np.arange(K)
        c = Comparison(
            studies.dist[run],
            studies.ind[run],
            studies.target[run],
            Term(studies.unit[run], ps.N - 1) if images else None,
            ps.N,
            pairing=Pairing(seeds, seeds) if form == "paired" else None,
        )
        assert st.seed_term(c) == form
        assert got[1, 0][run] == pytest.approx(st.diff_interval(c).p, rel=1e-9)
        assert got[0, 1][run] == pytest.approx(st.gap_interval(c).p, rel=1e-9)
        low, high = st.closed_interval(c)
        left = st.interval(
            diffs[run] - share * gaps[run], *st.contrast(st.variance_terms(c), (1, -share))
        )
        assert got[1, -share][run] == pytest.approx(left.p, rel=1e-9)
        assert (got[1, -share][run] >= ps.ALPHA) == (low <= share <= high)


@pytest.mark.parametrize("world", WORLDS, ids=str)
def test_the_paired_form_holds_its_level(world):
    found = ps.rates(ps.draw(world, RUNS, np.random.default_rng(7)), paired=True)
    # Without images the t distribution is exact; beside them Satterthwaite's df are too many.
    low = 0.95 if world.images == 0 else ps.ALLOWED
    assert low - band(low) < found.diff < 0.95 + band(0.95)
    assert low - band(low) < found.closed < 0.95 + band(0.95)
    assert found.false < 1 - low + band(low)


def test_the_separate_form_does_not_where_students_of_one_seed_oppose_each_other():
    """At -0.3 it covers 93 %; at 0.5 it covers 99 %, which costs power."""
    at = {
        rho: ps.rates(ps.draw(ps.World(K, rho, 1.0, 0.0), RUNS, np.random.default_rng(8)), False)
        for rho in (-0.3, 0.5)
    }
    assert at[-0.3].diff < 0.94
    assert at[0.5].diff > 0.98


@pytest.mark.parametrize("images", [0.0, 0.5])
def test_pairs_that_resemble_each_other_show_more(images):
    studies = ps.draw(ps.World(K, 0.5, 1.0, images), RUNS, np.random.default_rng(9))
    assert ps.rates(studies, paired=True).power > ps.rates(studies, paired=False).power + 0.1


def test_the_number_of_seeds_is_the_one_that_the_simulation_gave():
    with (BENCHMARKS / "results/paired_students.csv").open() as file:
        rows = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
    assert {(r["k"], r["correlation"], r["ratio"], r["images"]) for r in rows} == {
        (w.k, w.correlation, w.ratio, w.images) for w in ps.worlds()
    }
    assert ps.smallest(rows) == K
