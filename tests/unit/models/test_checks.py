"""Checks of one network before anything is measured on it."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from helpers.faulty_network import IMAGES, network
from kdpipe.models.base import Layers, Network
from kdpipe.models.shared import checks
from kdpipe.models.shared.output import output_kind


def outputs(ends: str) -> Tensor:
    return checks.answers(network(ends), 5 * IMAGES)


@pytest.mark.parametrize("ends", ["logits", "softmax", "log_softmax", "sigmoid"])
def test_outputs_are_told_apart(ends):
    assert output_kind(outputs(ends)) == ends


@pytest.mark.parametrize(
    "logits",
    [
        torch.zeros(4, 3),  # a network whose head is all zero
        torch.tensor([[0.2, 0.3], [0.4, 0.1]]),  # small by accident
        torch.tensor([[0.0, 0.95], [0.02, 0.5]]),  # a ReLU at the end
    ],
)
def test_small_logits_are_no_probabilities(logits):
    assert output_kind(logits) == "logits"


def test_probabilities_are_said():
    assert checks.logits(network(), outputs("logits")).status == "ok"
    assert checks.logits(network(), outputs("log_softmax")).status == "ok"
    for ends, words in (("softmax", "sum to one"), ("sigmoid", "after a sigmoid")):
        found = checks.logits(network(), outputs(ends))
        assert found.status == "warn"
        assert words in found.words


@pytest.mark.parametrize("ends", ["dropout", "noise"])
def test_a_network_that_is_random_in_evaluation_mode_fails(ends):
    assert checks.same_answer(network(), IMAGES).status == "ok"
    found = checks.same_answer(network(ends), IMAGES)
    assert found.status == "fail"
    assert "random in evaluation mode" in found.words


def test_a_network_that_was_traced_in_training_mode_fails():
    body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Dropout(0.5), nn.Flatten(), nn.Linear(144, 3))
    traced = torch.jit.trace(body.train(), IMAGES, check_trace=False)
    kit = Network(traced, Layers("", "", "", ()), [0.5] * 3, [0.3] * 3).eval()
    assert checks.same_answer(kit, IMAGES).status == "fail"


def test_nan_fails():
    found = checks.same_answer(network("nan"), IMAGES)
    assert found.status == "fail"
    assert "NaN" in found.words


@pytest.mark.parametrize(
    ("ends", "status", "words"),
    [
        ("logits", "ok", ""),
        ("fixed", "fail", "cannot take a batch of 1"),
        ("squeeze", "fail", r"shape (3,)"),
        ("batch", "warn", "depends on the other images of the batch"),
    ],
)
def test_batches_of_any_size(ends, status, words):
    found = checks.any_batch(network(ends), IMAGES, 257)
    assert found.status == status
    assert words in found.words


def test_the_gradient_has_to_reach_the_input():
    assert checks.gradient(network(), IMAGES).status == "ok"
    found = checks.gradient(network("no_grad"), IMAGES)
    assert found.status == "warn"
    assert "no gradient reaches its input" in found.words
    # Probabilities sum to one whatever the input: their sum would have no gradient.
    assert checks.gradient(network("softmax"), IMAGES).status == "ok"


def test_normalisation_of_pixels_up_to_255_is_said():
    assert checks.normalisation(network(), IMAGES).status == "ok"
    assert checks.normalisation(network(mean=0.0, std=1.0), IMAGES).status == "ok"
    found = checks.normalisation(network(mean=123.7, std=58.4), IMAGES)
    assert found.status == "warn"
    assert "mean -2.11 and deviation 0.00" in found.words


def test_a_precision_that_decides_otherwise_is_said():
    net = network()
    full = checks.answers(net, IMAGES)
    assert checks.precision(net, IMAGES, full, "bf16").status == "ok"
    assert "on 8 of 8 images" in checks.precision(net, IMAGES, -full, "bf16").words
    assert "NaN" in checks.precision(net, IMAGES, full * math.nan, "bf16").words


def test_a_layer_with_a_single_place_is_said():
    assert checks.layers(network(), IMAGES).status == "ok"
    body = nn.Sequential(nn.Conv2d(3, 4, 8), nn.Flatten(), nn.Linear(4, 3))
    one = Network(body, Layers("1", "0", "0", ("0",)), [0.5] * 3, [0.3] * 3).eval()
    found = checks.layers(one, IMAGES)
    assert found.status == "warn"
    assert "Grad-CAM's layer '0' has a single place" in found.words
