"""Objectives where there is one image, one class, nothing that differs, or no weight.

Each row: objective, shapes of the layers of student and teacher, options, names of its weights.
"""

from __future__ import annotations

import pytest

from helpers.objective_cases import SITUATIONS, survives

MAPS = {"hint": ((3, 4, 4), (5, 2, 2))}
STAGES = {"one": ((3, 4, 4), (3, 4, 4)), "two": ((4, 2, 2), (5, 3, 3))}
POOLED = {**STAGES, "penultimate": ((4,), (6,))}
TOKENS = {"one": ((3, 4, 4), (17, 5)), "two": ((4, 2, 2), (17, 5))}
BOTH = ("gamma", "beta")
EVERY = [
    ("kl", {}, {}, ("gamma", "alpha")),
    ("logits", {}, {}, ("gamma", "beta")),
    ("hint", MAPS, {}, BOTH),
    *((name, STAGES, {}, BOTH) for name in ("at", "nst", "vid", "fsp")),
    *((name, TOKENS, {}, BOTH) for name in ("at", "nst", "vid", "fsp")),
    ("at", STAGES, {"distance": "norm", "p": 1}, BOTH),
    ("nst", STAGES, {"kernel": "linear"}, BOTH),
    ("fsp", STAGES, {"reduction": "columns"}, BOTH),
    ("reviewkd", POOLED, {}, BOTH),
]


@pytest.mark.parametrize("situation", SITUATIONS)
@pytest.mark.parametrize(("objective", "shapes", "options", "weights"), EVERY)
def test_loss_and_gradients_stay_finite(objective, shapes, options, weights, situation):
    survives(objective, situation, shapes, options, weights)
