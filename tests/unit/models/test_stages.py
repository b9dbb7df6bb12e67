"""``stages`` stands for the outputs of a network's stages."""

from __future__ import annotations

import pytest
import torch

from kdpipe.base.plugin import of_library, resolve
from kdpipe.models import builders
from kdpipe.plan.counting import without_weights

NETWORKS = {
    "cifar_resnet/resnet20": ("stage1 32", "stage2 16", "stage3 8"),
    "cifar_resnet/resnet50": ("stage1 32", "stage2 16", "stage3 8", "stage4 4"),
    "cifar_vgg/vgg8": ("block2 16", "block3 8", "block4 4", "block5 4"),
    "wrn": ("stage1 32", "stage2 16", "stage3 8"),
    "shufflenet_v1": ("stage1 16", "stage2 8", "stage3 4"),
    "cifar_mobilenet_v2": ("stage2 16", "stage3 8", "stage5 4", "stage7 2"),
    "torchvision/resnet18": ("layer1 8", "layer2 4", "layer3 2", "layer4 1"),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_stages_and_their_resolutions(name):
    network = without_weights(resolve(builders, of_library(name)), 10, 32)
    names = network.expanded(["stages"])
    with torch.no_grad():
        _, found = network.with_features(torch.zeros(2, 3, 32, 32, device="meta"), names)
    assert tuple(f"{n} {found[n].shape[3]}" for n in names) == NETWORKS[name]


def test_without_stages_of_its_own_a_network_gives_the_layers_that_cka_compares():
    network = without_weights(resolve(builders, "mnist_cnn"), 10, 28)
    assert network.expanded(["stages"]) == network.layers.cka


def test_the_layer_before_the_stages_is_f1_unless_that_is_a_stage():
    network = without_weights(resolve(builders, "wrn"), 10, 32)
    assert network.expanded(["F0", "stages"]) == ("F1", "stage1", "stage2", "stage3")
    assert network.expanded(["hint", "stage1", "stages"]) == ("hint", "stage1", "stage2", "stage3")
    mobile = without_weights(resolve(builders, "cifar_mobilenet_v2"), 10, 32)
    assert mobile.groups["F0"] == ()
