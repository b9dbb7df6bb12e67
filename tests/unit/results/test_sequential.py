"""Boundaries of group-sequential tests against published ones, and repeated p-values."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm

from kdpipe.results.sequential import Design, boundaries, crossings, spent

THIRDS = (1 / 3, 2 / 3, 1.0)
LOOKS = (0.25, 0.5, 1.0)
SPENDINGS = ("obrien-fleming", "pocock")


@pytest.mark.parametrize(
    ("looks", "spending", "published"),
    [
        # gsDesign, sfLDOF and sfLDPocock at a one-sided level of 0.025
        (3, "obrien-fleming", (3.7103, 2.5114, 1.9930)),
        (3, "pocock", (2.2794, 2.2949, 2.2959)),
        # Reboussin et al., Controlled Clinical Trials 21 (2000)
        (4, "obrien-fleming", (4.3326, 2.9631, 2.3590, 2.0141)),
        (5, "obrien-fleming", (4.8769, 3.3569, 2.6803, 2.2898, 2.0310)),
    ],
)
def test_boundaries_are_the_published_ones(looks, spending, published):
    found = boundaries([(k + 1) / looks for k in range(looks)], 0.025, spending)
    assert found == pytest.approx(published, abs=2e-4)


@pytest.mark.parametrize(
    ("looks", "constant", "power"), [(3, 2.004, 0.5), (5, 2.040, 0.5), (3, 2.289, 0), (5, 2.413, 0)]
)
def test_classical_boundaries_use_up_the_level(looks, constant, power):
    """Of O'Brien and Fleming (power 1/2) and Pocock (0): Jennison and Turnbull, Tables 2.1, 2.3."""
    times = [(k + 1) / looks for k in range(looks)]
    bounds = [constant * t**-power for t in times]
    assert sum(crossings(times, bounds)) == pytest.approx(0.025, abs=5e-5)


@pytest.mark.parametrize("spending", SPENDINGS)
def test_looks_together_have_the_level_of_the_joint_normal(spending):
    """By SciPy's integral of the multivariate normal, which knows nothing of a recursion."""
    bounds = boundaries(LOOKS, 0.025, spending)
    rho = np.sqrt(np.minimum.outer(LOOKS, LOOKS) / np.maximum.outer(LOOKS, LOOKS))
    inside = multivariate_normal(np.zeros(3), rho).cdf(bounds)
    assert 1 - inside == pytest.approx(0.025, abs=1e-5)
    first = spent(0.025, LOOKS[0], spending)
    assert norm.sf(bounds[0]) == pytest.approx(first, rel=1e-6)
    two = multivariate_normal(np.zeros(2), rho[:2, :2]).cdf(bounds[:2])
    assert 1 - two == pytest.approx(spent(0.025, LOOKS[1], spending), abs=1e-6)


def test_statistics_that_are_correlated_more_cross_less():
    """Images add a variance that seeds do not lower: the test is then on the safe side."""
    bounds = boundaries(LOOKS, 0.025, "obrien-fleming")
    variance = 1 / np.array(LOOKS)
    chances = []
    for images in (0.0, 0.5, 5.0):
        total = variance + images
        rho = np.sqrt(np.minimum.outer(total, total) / np.maximum.outer(total, total))
        chances.append(1 - multivariate_normal(np.zeros(3), rho).cdf(bounds))
    assert chances[0] > chances[1] > chances[2]


@pytest.mark.parametrize("spending", SPENDINGS)
@pytest.mark.parametrize("look", [1, 2, 3])
def test_the_repeated_p_is_the_level_whose_boundary_is_met(spending, look):
    design = Design(LOOKS, spending)
    for level in (1e-6, 0.001, 0.01, 0.05, 0.4):
        assert design.p(look, design.level(look, level)) == pytest.approx(level, rel=1e-6)
    levels = [design.level(look, level) for level in np.geomspace(1e-9, 1, 60)]
    assert (np.diff(levels) > 0).all()
    assert (design.p(look, 0.0), design.p(look, 1.0)) == (0.0, 1.0)
    assert np.isnan(design.p(look, np.nan))
    assert design.p(look, 1e-200) == pytest.approx(1e-12)


@pytest.mark.parametrize("spending", SPENDINGS)
def test_a_single_look_is_the_test_without_looks(spending):
    design = Design((1.0,), spending)
    assert (design.level(1), design.p(1, 0.03)) == (0.05, 0.03)
    assert spent(0.025, 1.0, spending) == pytest.approx(0.025, rel=1e-12)


def test_no_repeated_p_is_smaller_than_that_of_the_look():
    design = Design(LOOKS)
    for look in (1, 2, 3):
        for p in (1e-9, 1e-4, 0.01, 0.2):
            assert design.p(look, p) > p
