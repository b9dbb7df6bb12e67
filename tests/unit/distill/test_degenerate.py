"""Objectives where there is one image, one class, nothing that differs, or no weight.

Each row: objective, shapes of the layers of student and teacher, options, names of its weights.
"""

from __future__ import annotations

import pytest

from helpers.objective_cases import SITUATIONS, survives

MAPS = {"hint": ((3, 4, 4), (5, 2, 2))}
EVERY = [
    ("kl", {}, {}, ("gamma", "alpha")),
    ("logits", {}, {}, ("gamma", "beta")),
    ("hint", MAPS, {}, ("gamma", "beta")),
]


@pytest.mark.parametrize("situation", SITUATIONS)
@pytest.mark.parametrize(("objective", "shapes", "options", "weights"), EVERY)
def test_loss_and_gradients_stay_finite(objective, shapes, options, weights, situation):
    survives(objective, situation, shapes, options, weights)
