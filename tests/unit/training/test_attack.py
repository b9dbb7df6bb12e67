"""Training under attack: the same bytes again, after an interruption, and without its weight."""

from __future__ import annotations

import pytest
import torch

from helpers.small_training import KilledError, assert_same_state, fitted, some_images
from kdpipe.data.images import as_float
from kdpipe.probes.shared.ifgsm import ifgsm
from kdpipe.training.checkpoint import Checkpoint
from kdpipe.training.recipe import Recipe

LARGE = {"epsilon": 0.2, "steps": 3}
UNDER_ATTACK = [
    {"name": "ard", "gamma": 0.2, "temperature": 4, **LARGE},
    {"name": "rslad", **LARGE},
    {"name": "adversarial_training", **LARGE},
]


@pytest.mark.parametrize("objective", UNDER_ATTACK, ids=lambda o: o["name"])
def test_an_interrupted_training_ends_in_the_same_bytes(tmp_path, objective):
    whole, _, history = fitted(objective)
    path = tmp_path / "state.pt"
    with pytest.raises(KilledError):
        fitted(objective, checkpoint=Checkpoint(path, seconds=0), stop=(2, 1))
    assert path.exists()
    resumed, _, history_resumed = fitted(objective, checkpoint=Checkpoint(path, seconds=0))
    assert_same_state(whole, resumed)
    assert history == history_resumed
    other, _, _ = fitted(objective, seed=1)
    assert not torch.equal(whole.body[4].weight, other.body[4].weight)


@pytest.mark.parametrize(
    "objective",
    [
        {"name": "ard", "gamma": 1, "alpha": 0},
        {"name": "rslad", "gamma": 1, "alpha": 0, "beta": 0},
    ],
    ids=lambda o: o["name"],
)
def test_without_weight_the_student_is_the_independent_one(objective):
    """Batch normalisation and dropout included."""
    independent, _, _ = fitted("labels")
    student, _, _ = fitted(objective)
    assert_same_state(independent, student)


def test_adversarial_training_makes_a_network_robust():
    recipe = Recipe(epochs=12, batch_size=8, optimizer="adamw", lr=0.01, schedule="constant")
    images = some_images(40, seed=5)
    clean, found = as_float(images.pixels), []
    for objective in ("labels", {"name": "adversarial_training", "epsilon": 0.15}):
        network, _, _ = fitted(objective, recipe)
        attacked = ifgsm(network.eval(), clean, images.labels, 0.15, 0.05, 7)
        found.append(float((network(attacked).argmax(1) == images.labels).float().mean()))
    assert found[1] > found[0] + 0.2
