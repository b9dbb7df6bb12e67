"""The training loop: it learns, repeats itself and names what is wrong."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from helpers.small_training import (
    CLASSES,
    assert_same_state,
    fitted,
    make_objective,
    small_network,
    some_images,
)
from kdpipe.base.errors import KdpipeError
from kdpipe.data.augment.base import Pipeline
from kdpipe.data.images import as_float
from kdpipe.distill.base import Setting
from kdpipe.distill.labels import Labels, LabelsOptions
from kdpipe.training.checkpoint import Checkpoint
from kdpipe.training.compute import Compute
from kdpipe.training.loop import batches, evaluate, fit
from kdpipe.training.recipe import Recipe
from kdpipe.training.teacher import LiveTeacher

# Learning


@pytest.mark.parametrize(
    "recipe",
    [
        {"optimizer": "adadelta", "lr": 1.0, "lr_decay": 0.9},
        {"optimizer": "sgd", "lr": 0.05, "schedule": "cosine"},
        {"optimizer": "adamw", "lr": 0.01, "schedule": "constant"},
    ],
    ids=lambda r: r["optimizer"],
)
def test_training_learns(recipe):
    _, _, history = fitted(recipe=Recipe(epochs=12, batch_size=8, **recipe))
    assert history[-1]["train_loss"] < 0.8 * history[0]["train_loss"]
    assert history[-1]["val_loss"] < 0.5 * history[0]["val_loss"]
    assert history[-1]["val_accuracy"] > 0.8


@pytest.mark.parametrize("objective", ["kl", "crd", "soft_label"])
def test_every_term_of_an_objective_is_in_the_history(objective):
    _, trained, history = fitted(objective)
    o = trained.options
    for row in history:
        weight = o.beta if objective == "crd" else o.alpha
        want = o.gamma * row["train_labels"] + weight * row[f"train_{objective}"]
        assert row["train_loss"] == pytest.approx(want, rel=1e-5)
    assert history[-1]["train_loss"] < history[0]["train_loss"]


def test_objective_parameters_are_trained():
    _, trained, _ = fitted("crd")
    fresh = make_objective("crd")
    for was, now in zip(fresh.parameters(), trained.parameters(), strict=True):
        assert not torch.equal(was, now)


def test_teacher_is_in_evaluation_mode_and_stays_as_it_is():
    network = small_network(seed=11)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    fitted("kl", teacher=LiveTeacher(network, ()))
    assert not network.training
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
    assert all(p.grad is None for p in network.parameters())


@pytest.mark.parametrize(
    ("schedule", "want"),
    [
        ({"schedule": "step", "step_size": 2, "lr_decay": 0.1}, [1, 1, 0.1, 0.1]),
        ({"schedule": "cosine"}, [1, 0.853553, 0.5, 0.146447]),
        ({"schedule": "constant"}, [1, 1, 1, 1]),
    ],
)
def test_learning_rate_follows_its_schedule(schedule, want):
    _, _, history = fitted(recipe=Recipe(epochs=4, batch_size=15, **schedule))
    assert [row["lr"] for row in history] == pytest.approx(want, rel=1e-5)
    assert [row["epoch"] for row in history] == [1, 2, 3, 4]


# Batches


def test_every_image_is_in_one_batch_of_an_epoch():
    got = list(batches(30, 8, seed=1))
    assert [len(rows) for rows in got] == [8, 8, 8, 6]
    assert sorted(np.concatenate(got)) == list(range(30))
    assert not np.array_equal(np.concatenate(got), np.concatenate(list(batches(30, 8, seed=2))))


def test_last_batch_of_one_image_is_dropped():
    assert [len(rows) for rows in batches(17, 8, seed=0)] == [8, 8]
    assert [len(rows) for rows in batches(1, 8, seed=0)] == [1]


def test_training_loss_is_the_mean_over_the_images_that_were_seen():
    """With all logits zero at first and a vanishing step, the loss is log(classes)."""
    network = small_network()
    for parameter in network.body[7].parameters():
        nn.init.zeros_(parameter)
    recipe = Recipe(epochs=1, batch_size=2, lr=1e-12, optimizer="sgd")
    history = fit(
        network,
        make_objective("labels"),
        None,
        some_images(3),
        some_images(5),
        recipe,
        Pipeline([], 0),
        Compute(),
        0,
        Checkpoint(None),
    )
    assert history[0]["train_loss"] == pytest.approx(np.log(CLASSES), rel=1e-5)
    assert history[0]["val_loss"] == pytest.approx(np.log(CLASSES), rel=1e-5)


# Repeatability


@pytest.mark.parametrize("objective", ["labels", "soft_label", "crd"])
def test_same_seed_gives_the_same_weights(objective):
    network, trained, history = fitted(objective)
    torch.rand(5)
    again, trained_again, history_again = fitted(objective)
    assert_same_state(network, again)
    assert_same_state(trained, trained_again)
    assert history == history_again
    other, _, _ = fitted(objective, seed=1)
    assert not torch.equal(network.body[4].weight, other.body[4].weight)


# Losses that are no number


class BreaksInEpoch(Labels):
    """The loss becomes ``value`` in the first batch of an epoch (four batches each)."""

    def __init__(self, epoch: int, value: float) -> None:
        super().__init__(LabelsOptions(), Setting(torch.zeros(1), CLASSES, {}, {}))
        self.left = 4 * (epoch - 1)
        self.value = value

    def forward(self, step):
        self.left -= 1
        return {"loss": super().forward(step)["loss"] + (self.value if self.left == -1 else 0)}


def fit_with(objective, recipe, checkpoint=None, compute=None):
    return fit(
        small_network(),
        objective,
        None,
        some_images(),
        some_images(12, seed=1),
        recipe,
        Pipeline([], 0),
        compute or Compute(),
        0,
        checkpoint or Checkpoint(None),
    )


@pytest.mark.parametrize(
    ("epoch", "value", "message"),
    [
        (1, float("nan"), r"training loss became nan in epoch 1 \(no epoch finished\)"),
        (3, float("nan"), r"nan in epoch 3 \(the losses of epoch 2 were finite\)"),
        (2, float("inf"), r"inf in epoch 2 .* lower training.lr \(now 0.25\)"),
    ],
)
def test_loss_that_is_no_number_names_epoch_and_key(epoch, value, message):
    recipe = Recipe(epochs=3, batch_size=8, lr=0.25)
    with pytest.raises(KdpipeError, match=message):
        fit_with(BreaksInEpoch(epoch, value), recipe)


def test_a_nan_loss_in_bf16_names_the_precision():
    recipe, nan = Recipe(epochs=1, batch_size=8), float("nan")
    with pytest.raises(KdpipeError, match=r"or set compute.precision to fp32 \(now bf16\)\.$"):
        fit_with(BreaksInEpoch(1, nan), recipe, compute=Compute(precision="bf16"))
    with pytest.raises(KdpipeError, match=r"or the weights of the objective\.$"):
        fit_with(BreaksInEpoch(1, nan), recipe)


def test_weights_broken_by_the_very_last_step_are_noticed(tmp_path):
    """One batch, one epoch: the training loss was computed before the step, and is fine."""
    path = tmp_path / "kept.pt"
    recipe = Recipe(epochs=1, batch_size=64, lr=1e38, optimizer="sgd")
    message = r"validation loss became nan in epoch 1 .* training\.lr"
    with pytest.raises(KdpipeError, match=message), Checkpoint(path, 0) as checkpoint:
        fit_with(make_objective("labels"), recipe, checkpoint)
    assert list(tmp_path.iterdir()) == []


# Evaluation


@pytest.mark.parametrize("size", [5, 12, 100])
def test_evaluation_is_without_dropout_and_batch_statistics(size):
    network = small_network().train()
    images = some_images(12, seed=1)
    network(as_float(some_images().pixels))  # moves the running statistics off 0 and 1
    before = {k: v.clone() for k, v in network.state_dict().items()}
    got = evaluate(network, images, size, Compute())

    network.eval()
    with torch.no_grad():
        logits = network(as_float(images.pixels))
    assert got["val_loss"] == pytest.approx(float(F.cross_entropy(logits, images.labels)), rel=1e-5)
    accuracy = (logits.argmax(1) == images.labels).float().mean()
    assert got["val_accuracy"] == pytest.approx(float(accuracy))
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())


def test_training_goes_on_with_dropout_after_an_evaluation():
    """Switched off for good after the first epoch, dropout would not use the random stream."""
    modes = []

    class Watched(Labels):
        def forward(self, step):
            modes.append(network.training)
            return super().forward(step)

    network = small_network()
    fit(
        network,
        Watched(LabelsOptions(), Setting(torch.zeros(1), CLASSES, {}, {})),
        None,
        some_images(),
        some_images(12, seed=1),
        Recipe(epochs=2, batch_size=10),
        Pipeline([], 0),
        Compute(),
        0,
        Checkpoint(None),
    )
    assert modes == [True] * 6


# Artefacts


# Tables of teacher outputs, through the stages


# Where numbers are computed
