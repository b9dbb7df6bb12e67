"""The perceptron on mean colours: values against explicit formulas, and layer names."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from kdpipe.base.plugin import resolve
from kdpipe.models import builders
from kdpipe.models.base import build
from kdpipe.probes.localization import grad_cam

MEAN, STD = (0.1, 0.5, 0.3), (0.2, 0.5, 1.0)


def mlp(*hidden: int, seed: int = 0):
    ref = resolve(builders, {"name": "mlp", "hidden": list(hidden)})
    return build(ref, 4, MEAN, STD, seed).eval()


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("hidden", [(), (6,), (6, 5)])
def test_output_is_that_of_a_perceptron_on_the_mean_colour(hidden, images):
    network = mlp(*hidden)
    x = (images.double().mean((2, 3)) - torch.tensor(MEAN)) / torch.tensor(STD)
    layers = [m for m in network.body.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert [m.weight.shape[0] for m in layers] == [*hidden, 4]
    for k, layer in enumerate(layers):
        x = x @ layer.weight.double().flatten(1).T + layer.bias.double()
        if k < len(layers) - 1:
            x = x.clamp_min(0)
    torch.testing.assert_close(network(images).double(), x, atol=1e-5, rtol=1e-5)


def test_where_a_colour_stands_in_the_image_makes_no_difference(images):
    network = mlp(6)
    mixed = images.flatten(2)[:, :, torch.randperm(64)].unflatten(2, (8, 8))
    torch.testing.assert_close(network(images), network(mixed), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("hidden", "penultimate", "hint", "cka"),
    [
        ((), (4,), (4,), 2),
        ((6,), (6,), (6,), 3),
        ((6, 5), (5,), (6,), 4),
        ((7, 6, 5), (5,), (6,), 5),
    ],
)
def test_layers_that_the_names_stand_for(hidden, penultimate, hint, cka, images):
    network = mlp(*hidden)
    names = ["penultimate", "cam", "hint", *network.layers.cka]
    logits, features = network.with_features(images, names)
    assert features["penultimate"].shape[1:] == penultimate
    assert features["hint"].shape[1:] == hint
    assert features["cam"].shape[2:] == (8, 8)
    assert len(network.layers.cka) == cka
    torch.testing.assert_close(features[network.layers.cka[-1]], logits)


@pytest.mark.parametrize("hidden", [(), (6,)])
def test_grad_cam_works_on_its_cam_layer(hidden, images):
    network = mlp(*hidden)
    with torch.no_grad():
        answers = network(images).argmax(1).numpy()
    maps = grad_cam(network, images, answers, "cam")
    assert maps.shape == (5, 8, 8)
    assert (maps.reshape(5, -1).max(1) > 0).any()
