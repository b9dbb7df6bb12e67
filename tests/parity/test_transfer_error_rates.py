"""How often the whole rule errs, in studies simulated by ``benchmarks/error_rates.py``.

The population values come from integration, not from kdpipe. Bands are those of a binomial count:
a rate at its nominal value fails in about one of 3000 runs (z = 3.4); seeds are fixed. In 2000
studies a row the script measured, for two to five seeds a side and 300 or 3000 units:

    95 % interval of diff       94.4 to 98.6 % cover
    95 % interval of gap        92.8 to 97.0 %  (92.8 with two seeds and 3000 units)
    95 % interval of the share  93.7 to 98.6 %
    transferred or opposite without an effect      0.4 to 5.2 %
    not transferred or opposite at a share of 0.1  0.7 to 2.9 %
    transferred at a share of 0.5                  50 to 100 %

With five paired seeds and correlations of -0.3 to 0.8, intervals of diff cover 95.3 to 98.4 %.
"""

from __future__ import annotations

import importlib.util
import math
import sys
from functools import cache

import numpy as np
import pytest

from helpers.places import BENCHMARKS

SCRIPT = BENCHMARKS / "error_rates.py"
spec = importlib.util.spec_from_file_location("error_rates", SCRIPT)
assert spec is not None
assert spec.loader is not None
er = importlib.util.module_from_spec(spec)
sys.modules["error_rates"] = er
spec.loader.exec_module(er)

RUNS = {300: 300, 3000: 150}
SETTINGS = [("units", k, n) for k in (2, 3, 5) for n in (300, 3000)]
SETTINGS += [("set", 2, 300), ("set", 5, 300), ("set", 3, 3000)]


@cache
def rates(kind: str, k: int, n: int, share: float | None, methods: int = 1, **more) -> er.Rates:
    return er.simulate(er.World(kind, k, n, share, methods, **more), RUNS[n], seed=1)


def band(rate: float, n: int) -> float:
    return 3.4 * math.sqrt(rate * (1 - rate) / RUNS[n])


def test_population_values_are_those_of_large_samples():
    """The integrals against 40 studies of 3000 units; se of a mean over 40·3 seeds: 0.0014."""
    for kind in ("units", "set"):
        simulation = er.Simulation(er.World(kind, 3, 3000, 0.5), seed=2)
        rows = [study[0] for study in simulation.studies(40)]
        for name, want in (("ind_mean", 0.70), ("dist_mean", 0.775), ("target", 0.85)):
            assert np.mean([row[name] for row in rows]) == pytest.approx(want, abs=0.005)


@pytest.mark.parametrize(("kind", "k", "n"), SETTINGS)
def test_no_effect(kind, k, n):
    """A gap of 0.15, and distilled students that are no better than independent ones."""
    found = rates(kind, k, n, 0.0)
    # 2.5 points of allowance: Satterthwaite's approximation with one df a side.
    low, high = 0.95 - band(0.95, n) - (0.025 if k == 2 else 0), 0.999
    assert low < found.diff <= high
    assert low < found.gap <= high
    assert low < found.closed <= high
    assert found.false < 0.05 + band(0.05, n)
    # Neither sign is favoured.
    assert abs(found.verdicts["transferred"] - found.verdicts["opposite"]) < band(0.05, n)
    # se of a mean diff: seeds 0.014·sqrt(2/k), units below.
    assert abs(found.mean_diff) < 4 * 0.02 * math.sqrt(2 / k / RUNS[n])


@pytest.mark.parametrize(("kind", "k", "n"), SETTINGS[:2])
def test_no_gap(kind, k, n):
    found = rates(kind, k, n, None)
    assert found.verdicts["no gap"] > 0.95 - band(0.95, n) - (0.025 if k == 2 else 0)
    assert found.false < 0.05 + band(0.05, n)


@pytest.mark.parametrize(("kind", "k", "n"), [SETTINGS[i] for i in (0, 3, 6)])
def test_a_tenth_of_the_gap_is_seldom_called_none(kind, k, n):
    """The edge of equivalence: the bound is one end of a 95 % interval, so 2.5 % is nominal."""
    found = rates(kind, k, n, 0.1)
    assert found.verdicts["not transferred"] < 0.025 + band(0.025, n)
    assert found.false < 0.05 + band(0.05, n)


def test_a_family_of_four_methods_errs_no_more_often_than_one():
    """They share the independents, and Holm holds the rate of studies with any false verdict."""
    assert rates("units", 3, 300, 0.0, methods=4).family < 0.05 + band(0.05, 300)


@pytest.mark.parametrize(("kind", "n", "wanted"), [("units", 300, 0.7), ("units", 3000, 0.9)])
def test_planted_effects_are_found_more_often_with_more_seeds(kind, n, wanted):
    """Half of the gap: 50, 77 and 97 % of 300 units, 66, 98 and 100 % of 3000 were measured."""
    found = [rates(kind, k, n, 0.5) for k in (2, 3, 5)]
    power = [f.verdicts["transferred"] for f in found]
    assert power[0] < power[1] <= power[2]
    assert power[0] > 0.35
    assert power[1] > wanted - band(wanted, n)
    assert power[2] > 0.9
    assert all(f.verdicts["opposite"] + f.verdicts["not transferred"] < 0.01 for f in found)
    assert all(abs(f.mean_diff - 0.075) < 4 * 0.02 / math.sqrt(RUNS[n]) for f in found)


def test_harm_is_called_opposite():
    found = rates("units", 5, 300, -0.5)
    assert found.verdicts["opposite"] > 0.9
    assert found.verdicts["transferred"] == 0
    assert found.mean_diff < -0.06


def test_a_student_that_has_nothing_is_told_so_with_enough_seeds():
    """Equivalence needs precision: 24 % of studies with five seeds and 3000 units reach it."""
    few, many = (rates("units", k, 3000, 0.0).verdicts["not transferred"] for k in (3, 5))
    assert few < many
    assert many > 0.236 - band(0.236, 3000)


@pytest.mark.parametrize("correlation", [-0.3, 0.5])
def test_paired_students_without_an_effect(correlation):
    """Skill and own answers correlate between the students of a seed."""
    found = rates("units", 5, 3000, 0.0, correlation=correlation)
    assert 0.95 - band(0.95, 3000) < found.diff <= 1
    assert 0.95 - band(0.95, 3000) < found.closed <= 1
    assert found.false < 0.05 + band(0.05, 3000)


def test_pairs_that_resemble_each_other_show_more():
    """No transfer is shown in 64 % of studies at a correlation of 0.8, in 24 % without pairs."""
    pairs, apart = (rates("units", 5, 3000, 0.0, correlation=c) for c in (0.8, None))
    assert pairs.verdicts["not transferred"] > apart.verdicts["not transferred"] + 0.2
    found = rates("units", 5, 300, 0.5, correlation=0.8)
    assert found.verdicts["transferred"] > 0.98
