"""Forecasts against the whole rule on outcomes of images, in studies of ``benchmarks/error_rates``.

A forecast from one study with 40 seeds says how often studies with fewer seeds, other students and
other images end in each verdict. Outcomes are binary, so that seeds and images share variance that
the rule counts in both terms; a forecast that does not take it apart misses by 7 points.

    8 seeds, 300 images, a share of 0.3   forecast 77.7 %, 79.0 % of 300 studies
    16 seeds, 300 images                  forecast 95.7 %, 96.0 %
    16 seeds, 10,000 images, no effect    forecast 84.2 % not transferred, 81.7 %
"""

from __future__ import annotations

import importlib.util
import math
import sys

import numpy as np
import pytest

from helpers.places import BENCHMARKS
from kdpipe.results import statistics as st
from kdpipe.results.comparison import Comparison, from_units
from kdpipe.results.forecast import Forecast, forecast
from kdpipe.results.power import Rule, chances

spec = importlib.util.spec_from_file_location("error_rates", BENCHMARKS / "error_rates.py")
assert spec is not None
assert spec.loader is not None
er = sys.modules.get("error_rates") or importlib.util.module_from_spec(spec)
if "error_rates" not in sys.modules:
    sys.modules["error_rates"] = er
    spec.loader.exec_module(er)

RUNS = 200
RULE = Rule(st.ALPHA, 0.02)


def from_many_seeds(n: int, share: float) -> Forecast:
    simulation = er.Simulation(er.World("units", 40, n, share), seed=5)
    teacher, ind, dist = np.split(simulation._outcomes(), [1, 41])

    def without(i: int | None, j: int | None) -> Comparison:
        keep = [np.arange(40) != (-1 if k is None else k) for k in (i, j)]
        return from_units(dist[keep[0]], ind[keep[1]], teacher[0])

    return forecast(without(None, None), 40, 40, without)


@pytest.mark.parametrize(
    ("n", "share", "k", "verdict"),
    [(300, 0.3, 5, "transferred"), (300, 0.3, 8, "transferred"), (3000, 0.0, 8, "not transferred")],
)
def test_forecasts_are_what_happens(n, share, k, verdict):
    f = from_many_seeds(n, share)
    chance = chances(f, k, RULE, share).likely
    rows = er.Simulation(er.World("units", k, n, share), seed=9).studies(RUNS)
    found = np.mean([row[0]["verdict"] == verdict for row in rows])
    assert chance[1] == verdict
    # The variance of 40 seeds is known to a quarter of itself; chances then to some points.
    assert found == pytest.approx(chance[0], abs=0.05 + 3 * math.sqrt(0.25 / RUNS))


def test_counting_what_seeds_and_images_share_once_matters():
    f = from_many_seeds(300, 0.3)
    plain = Forecast(f.now, np.zeros((2, 2)), np.zeros((2, 2)))
    assert f.mixed(40, 40)[0, 0] > 0.15 * f.now.unit.covariance[0, 0]
    forecasts = [chances(x, 8, RULE, 0.3).transferred for x in (f, plain)]
    assert forecasts[1] > 0.05 + forecasts[0]
