"""The perceptron on pixels: values against an explicit formula, sizes, and layer names."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from kdpipe.base.errors import KdpipeError
from kdpipe.base.plugin import resolve
from kdpipe.models import builders
from kdpipe.models.base import build

MEAN, STD = (0.1, 0.5, 0.3), (0.2, 0.5, 1.0)


def mlp(side: int = 8, **options):
    ref = resolve(builders, {"name": "pixel_mlp", **options})
    return build(ref, 4, MEAN, STD, 0, side).eval()


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("hidden", [[], [6], [6, 5]])
def test_output_is_that_of_a_perceptron_on_the_pixels(hidden, grey, images):
    network = mlp(hidden=hidden, grey=grey)
    x = (images.double() - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    x = x.sum(1).flatten(1) / 3 if grey else x.flatten(1)
    layers = [m for m in network.body.modules() if isinstance(m, nn.Linear)]
    assert [m.weight.shape[1] for m in layers] == [64 if grey else 192, *hidden]
    for k, layer in enumerate(layers):
        x = x @ layer.weight.double().T + layer.bias.double()
        if k < len(layers) - 1:
            x = x.clamp_min(0)
    torch.testing.assert_close(network(images).double(), x, atol=1e-5, rtol=1e-5)


def test_it_is_the_perceptron_784_256_256_for_mnist():
    network = mlp(28, grey=True)
    assert sum(p.numel() for p in network.parameters()) == 785 * 256 + 257 * 256 + 257 * 4


def test_images_of_another_size_are_refused_in_a_sentence(images):
    with pytest.raises(KdpipeError, match="takes images of 28×28 pixels, not 8×8"):
        mlp(28)(images)


@pytest.mark.parametrize(
    ("hidden", "penultimate", "hint", "cka"),
    [([], 192, 192, 2), ([6], 6, 6, 3), ([6, 5], 5, 6, 4), ([7, 6, 5], 5, 6, 5)],
)
def test_layers_that_the_names_stand_for(hidden, penultimate, hint, cka, images):
    network = mlp(hidden=hidden)
    logits, features = network.with_features(
        images, ["penultimate", "cam", "hint", *network.layers.cka]
    )
    assert features["penultimate"].shape[1:] == (penultimate,)
    assert features["hint"].shape[1:] == (hint,)
    assert features["cam"].shape[1:] == (3, 8, 8)
    assert len(network.layers.cka) == cka
    torch.testing.assert_close(features[network.layers.cka[-1]], logits)
