"""Networks: architecture, normalisation, layers by name, initialisation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from kdpipe.base.errors import KdpipeError
from kdpipe.base.plugin import resolve
from kdpipe.models import builders
from kdpipe.models.base import Layers, Network, build
from kdpipe.models.shared.blur_pool import BlurPool

MEAN, STD = (0.1, 0.5, 0.3), (0.2, 0.5, 1.0)


def mnist_cnn(seed: int = 0, n_classes: int = 10, **options) -> Network:
    ref = resolve(builders, {"name": "mnist_cnn", **options})
    return build(ref, n_classes, MEAN, STD, seed).eval()


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.rand(3, 3, 28, 28, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("antialias", [False, True])
def test_mnist_cnn_has_the_parameters_that_its_docstring_says(antialias):
    network = mnist_cnn(antialias=antialias)
    assert sum(p.numel() for p in network.parameters()) == 1_200_458


def test_mnist_cnn_is_the_network_of_the_example_of_pytorch(images):
    """The forward pass of github.com/pytorch/examples/mnist with the same weights."""
    network = mnist_cnn()
    w = dict(network.body.named_parameters())
    mean, std = (torch.tensor(x).view(1, 3, 1, 1) for x in (MEAN, STD))
    x = (images - mean) / std
    x = F.relu(F.conv2d(x, w["conv1.weight"], w["conv1.bias"]))
    x = F.relu(F.conv2d(x, w["conv2.weight"], w["conv2.bias"]))
    x = F.max_pool2d(x, 2).flatten(1)
    x = F.relu(F.linear(x, w["fc1.weight"], w["fc1.bias"]))
    want = F.linear(x, w["fc2.weight"], w["fc2.bias"])
    torch.testing.assert_close(network(images), want)


def test_images_are_normalised_inside_per_channel():
    body = nn.Sequential(nn.Identity(), nn.Flatten())
    network = Network(body, Layers("0", "0", "0", ()), MEAN, STD)
    image = torch.tensor([0.3, 0.0, 0.8]).view(1, 3, 1, 1)
    torch.testing.assert_close(network(image), torch.tensor([[1.0, -1.0, 0.5]]))


def test_normalisation_is_saved_with_the_weights_and_not_trained():
    network = mnist_cnn()
    assert {"mean", "std"} <= set(network.state_dict())
    assert not {"mean", "std"} & {name for name, _ in network.named_parameters()}


def test_layers_go_by_alias_or_dotted_name(images):
    network = mnist_cnn()
    assert network.layer("penultimate") is network.body.relu3
    assert network.layer("cam") is network.body.relu2
    assert network.layer("hint") is network.body.conv2
    assert network.layer("fc1") is network.body.fc1
    assert mnist_cnn(antialias=True).layer("pool.1").kernel.shape == (64, 1, 3, 3)


def test_features_come_from_the_pass_that_gives_the_logits(images):
    network = mnist_cnn()
    names = ("penultimate", "cam", "conv1")
    logits, features = network.with_features(images, names)
    assert torch.equal(logits, network(images))
    assert {name: tuple(f.shape) for name, f in features.items()} == {
        "penultimate": (3, 128),
        "cam": (3, 64, 24, 24),
        "conv1": (3, 32, 26, 26),
    }
    # Logits follow from the penultimate layer.
    torch.testing.assert_close(network.body.fc2(features["penultimate"]), logits)
    # Gradients reach the network through a tapped layer.
    features["cam"].sum().backward()
    assert network.body.conv1.weight.grad.abs().sum() > 0


def test_taps_are_removed_after_the_pass_even_when_it_fails(images):
    network = mnist_cnn()
    network.with_features(images, ["conv1"])
    with pytest.raises(KdpipeError, match="takes images of 28×28 pixels, not 20×28"):
        network.with_features(images[:, :, :20], ["conv1", "relu2"])
    assert not any(module._forward_hooks for module in network.modules())


def test_unknown_layer_is_answered_with_the_known_ones(images):
    with pytest.raises(KdpipeError, match=r"no layer 'conv9'; its layers are conv1, relu1, conv2"):
        mnist_cnn().with_features(images, ["conv9"])


def test_seed_alone_decides_the_weights():
    first = mnist_cnn(seed=5).state_dict()
    torch.manual_seed(99)
    torch.rand(3)
    again, other = mnist_cnn(seed=5).state_dict(), mnist_cnn(seed=6).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["body.fc1.weight"], other["body.fc1.weight"])


def test_building_a_network_leaves_the_random_stream_alone():
    torch.manual_seed(1)
    want = torch.rand(4)
    torch.manual_seed(1)
    mnist_cnn(seed=5)
    assert torch.equal(torch.rand(4), want)


def test_dropout_acts_in_training_only(images):
    network = mnist_cnn()
    assert torch.equal(network(images), network(images))
    network.train()
    torch.manual_seed(0)
    assert not torch.equal(network(images), network(images))


def test_penultimate_layer_is_read_before_dropout(images):
    """Otherwise CRD and tables of teacher outputs would see half of the features."""
    network = mnist_cnn().train()
    network.body.dropout1.p = 0.0
    torch.manual_seed(0)
    _, first = network.with_features(images, ["penultimate"])
    _, second = network.with_features(images, ["penultimate"])
    assert torch.equal(first["penultimate"], second["penultimate"])


# Blur pooling


def test_blur_pool_against_sums_over_neighbours():
    """Weights 1 2 1 in each direction over 16, every second pixel, mirrored at the border."""
    x = torch.randn(2, 3, 7, 6, dtype=torch.float64)
    got = BlurPool(3).double()(x).numpy()
    padded = np.pad(x.numpy(), ((0, 0), (0, 0), (1, 1), (1, 1)), mode="reflect")
    want = np.zeros((2, 3, 4, 3))
    for i in range(4):
        for j in range(3):
            for di, wi in enumerate((1, 2, 1)):
                for dj, wj in enumerate((1, 2, 1)):
                    want[:, :, i, j] += wi * wj / 16 * padded[:, :, 2 * i + di, 2 * j + dj]
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)


def test_blur_pool_keeps_a_constant_image_and_channels_apart():
    x = torch.ones(1, 2, 6, 6)
    x[:, 1] = 5
    got = BlurPool(2)(x)
    torch.testing.assert_close(got, x[:, :, ::2, ::2])


def test_antialiased_network_has_the_same_shapes_and_weights(images):
    plain, smooth = mnist_cnn(seed=2), mnist_cnn(seed=2, antialias=True)
    names = ("cam", "pool", "penultimate")
    logits, features = plain.with_features(images, names)
    smooth_logits, smooth_features = smooth.with_features(images, names)
    assert features["pool"].shape == (3, 64, 12, 12)
    assert {k: f.shape for k, f in features.items()} == {
        k: f.shape for k, f in smooth_features.items()
    }
    assert torch.equal(features["cam"], smooth_features["cam"])
    assert not torch.allclose(logits, smooth_logits)
    assert set(plain.state_dict()) == set(smooth.state_dict())


def test_antialiased_pooling_changes_less_under_a_shift(images):
    plain, smooth = mnist_cnn(seed=2), mnist_cnn(seed=2, antialias=True)

    def change(network: Network) -> float:
        _, a = network.with_features(images, ["pool"])
        _, b = network.with_features(images.roll(1, 3), ["pool"])
        inner = (a["pool"] - b["pool"])[..., 2:-2, 2:-2].norm() / a["pool"][..., 2:-2, 2:-2].norm()
        return float(inner.detach())

    assert change(smooth) < 0.8 * change(plain)


# torchvision


def torchvision_network(arch: str, n_classes: int = 4) -> Network:
    return build(resolve(builders, {"name": "torchvision", "arch": arch}), n_classes, MEAN, STD, 0)


def test_torchvision_layers_exist_and_mean_what_they_say():
    network = torchvision_network("resnet18").eval()
    x = torch.rand(2, 3, 32, 32)
    names = ("penultimate", "cam", "hint", *network.layers.cka)
    with torch.no_grad():
        logits, features = network.with_features(x, names)
    assert logits.shape == (2, 4)
    assert features["penultimate"].shape == (2, 512, 1, 1)
    assert features["cam"].shape == (2, 512, 1, 1)
    assert features["hint"].shape == (2, 128, 4, 4)
    torch.testing.assert_close(network.body.fc(features["penultimate"].flatten(1)), logits)
    assert torch.equal(features["fc"], logits)
