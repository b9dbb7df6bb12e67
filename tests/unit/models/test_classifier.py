"""The last linear map of a network, found by what it computes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from kdpipe.base.plugin import resolve
from kdpipe.models import builders
from kdpipe.models.base import Network, build
from kdpipe.models.shared.classifier import classifier_of
from kdpipe.models.shared.readout import ClassReadout

IMAGES = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
NETWORKS = [
    ("mnist_cnn", "penultimate"),
    ("cifar_resnet", "penultimate"),
    ("cifar_resnet", "cam"),
    ({"name": "wrn", "depth": 10, "width": 1}, "penultimate"),
    ({"name": "torchvision", "arch": "mobilenet_v3_small"}, "penultimate"),
    ({"name": "mlp", "hidden": [6]}, "penultimate"),
]


def network(ref, classes: int = 5, auxiliary: int = 0) -> Network:
    made = build(resolve(builders, ref), classes, [0.5] * 3, [0.3] * 3, 0, 32, auxiliary)
    return made.train()


def features(made: Network, layer: str) -> torch.Tensor:
    with torch.no_grad():
        _, found = made.eval().with_features(IMAGES, (layer,))
    x = found[layer]
    return x.mean((2, 3)) if x.dim() > 2 else x


@pytest.mark.parametrize(("ref", "layer"), NETWORKS)
def test_it_gives_the_logits_of_the_features(ref, layer):
    made = network(ref)
    found = classifier_of(made, IMAGES, layer)
    assert found is not None
    assert made.training
    assert not any(p.requires_grad for p in found.parameters())
    with torch.no_grad():
        want = made.eval()(IMAGES)
    torch.testing.assert_close(found(features(made, layer)), want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("ref", "layer"),
    [
        ({"name": "mlp", "hidden": []}, "penultimate"),  # the mean of maps, no linear layer
        ("cifar_resnet", "hint"),  # other numbers
        ("mnist_cnn", "cam"),  # a layer stands between
        ("mnist_cnn", "flatten"),  # the last linear layer but one reads it
    ],
)
def test_there_is_none_where_the_logits_are_no_linear_map_of_the_layer(ref, layer):
    assert classifier_of(network(ref), IMAGES, layer) is None


def test_a_layer_of_the_same_width_is_not_taken_for_the_one_that_is_read():
    """Two stages of the same channels: only the mean of the last one gives the logits."""
    made = network("cifar_vgg")
    last, before = made.layers.cka[4], made.layers.cka[3]
    shapes = made.eval().with_features(IMAGES, (last, before))[1]
    assert shapes[last].shape[1] == shapes[before].shape[1]
    assert classifier_of(made, IMAGES, last) is not None
    assert classifier_of(made, IMAGES, before) is None


def test_a_classifier_without_a_bias():
    made = network("mnist_cnn")
    made.body.fc2 = nn.Linear(128, 5, bias=False)
    found = classifier_of(made, IMAGES, "penultimate")
    assert not found.bias.any()
    assert torch.equal(found.weight, made.body.fc2.weight)


def test_classes_in_another_order_and_fewer_of_them():
    made = network("mnist_cnn")
    made.readout = ClassReadout([[3], [0], [4]], "sum")
    found = classifier_of(made, IMAGES, "penultimate")
    assert torch.equal(found.weight, made.body.fc2.weight[[3, 0, 4]])
    assert torch.equal(found.bias, made.body.fc2.bias[[3, 0, 4]])


def test_groups_of_classes_are_no_linear_map():
    made = network("mnist_cnn")
    made.readout = ClassReadout([[0, 1], [2, 3, 4]], "sum")
    assert classifier_of(made, IMAGES, "penultimate") is None


@pytest.mark.parametrize(
    ("outputs", "rows"), [("classes", [0, 1, 2]), ("auxiliary", [3, 4]), ("all", [0, 1, 2, 3, 4])]
)
def test_outputs_that_no_label_stands_for(outputs, rows):
    made = network("mnist_cnn", classes=3, auxiliary=2)
    found = classifier_of(made, IMAGES, "penultimate", outputs)
    assert torch.equal(found.weight, made.body.fc2.weight[rows])
    with torch.no_grad():
        want = made.eval()(IMAGES, outputs)
    got = F.linear(features(made, "penultimate"), found.weight, found.bias)
    torch.testing.assert_close(got, want)
