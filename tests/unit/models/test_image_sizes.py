"""Every architecture at every image size: it runs, or one sentence says that it cannot."""

from __future__ import annotations

import pytest
import torch

from kdpipe.base.errors import KdpipeError
from kdpipe.base.plugin import PluginRef, of_library, resolve
from kdpipe.models import builders
from kdpipe.models.base import build
from kdpipe.plan.counting import tried, without_weights

SIZES = (8, 16, 28, 32, 64, 224)
EVERY = set(SIZES)
FROM_32 = {32, 64, 224}
# Sizes that an architecture takes; at all others it has to be refused.
TAKEN: dict[str, set[int]] = {
    "mnist_cnn": EVERY,
    "mlp": EVERY,
    "cifar_resnet/resnet20": EVERY,
    "cifar_vgg/vgg8": EVERY,
    "wrn": EVERY,
    "shufflenet_v1": EVERY,
    "cifar_mobilenet_v2": EVERY,
    "torchvision/resnet18": EVERY,
    "torchvision/vgg11": FROM_32,
    "torchvision/vit_b_32": {224},
    "torchvision/swin_t": EVERY,
    "torchvision/squeezenet1_1": {28, 32, 64, 224},
    "torchvision/alexnet": {64, 224},
    "torchvision/inception_v3": {224},
}


def reference(name: str, **options: object) -> PluginRef:
    raw = of_library(name)
    return resolve(builders, {**(raw if isinstance(raw, dict) else {"name": raw}), **options})


@pytest.mark.parametrize("name", TAKEN)
def test_a_network_takes_images_of_a_size_or_is_refused_in_a_sentence(name: str) -> None:
    ref = reference(name)
    for size in SIZES:
        if size in TAKEN[name]:
            network = without_weights(ref, 7, size)
            assert tried(network, ref, size).shape == (1, 7)
            for layer in ("penultimate", "hint", "cam", *network.layers.cka):
                network.layer(layer)
            images = torch.zeros(2, 3, size, size, device="meta")
            _, features = network.with_features(images, ["cam"])
            assert features["cam"][0, 0].numel() > 1, f"{network.cam} at {size}"
            continue
        with pytest.raises(KdpipeError, match=f"{size}×{size}"):
            tried(without_weights(ref, 7, size), ref, size)


@pytest.mark.parametrize("size", [7, 16, 20, 33])
@pytest.mark.parametrize("antialias", [False, True])
def test_mnist_cnn_computes_its_width_from_the_size(size: int, antialias: bool) -> None:
    ref = reference("mnist_cnn", antialias=antialias)
    network = build(ref, 5, [0.5] * 3, [0.2] * 3, seed=0, side=size).eval()
    assert network(torch.rand(2, 3, size, size)).shape == (2, 5)


def test_mnist_cnn_of_too_few_pixels_is_refused() -> None:
    for antialias, size in ((False, 5), (True, 6)):
        with pytest.raises(KdpipeError, match=f"of {size}×{size} pixels, only of {size + 1}×"):
            build(reference("mnist_cnn", antialias=antialias), 5, [0], [1], seed=0, side=size)
    build(reference("mnist_cnn"), 5, [0.5] * 3, [0.2] * 3, seed=0, side=6)


# The last layer with more than one place


@pytest.mark.parametrize(
    ("name", "size", "cam"),
    [
        ("torchvision/resnet18", 224, "layer4"),
        ("torchvision/resnet18", 32, "layer3"),
        ("torchvision/resnet18", 16, "layer2"),
        ("torchvision/swin_t", 32, "features.5"),
        ("cifar_vgg/vgg8", 32, "block5"),
        ("cifar_vgg/vgg8", 8, "block3"),
        ("cifar_mobilenet_v2", 8, "stage3"),
        ("torchvision/mobilenet_v2", 32, "features.13"),
        ("mnist_cnn", 6, "relu2"),
        ("mlp", 8, "conv1"),
    ],
)
def test_grad_cam_looks_where_there_is_more_than_one_place(name: str, size: int, cam: str) -> None:
    network = without_weights(reference(name), 7, size)
    assert network.dotted("cam") == cam
    assert network.layer("cam") is network.body.get_submodule(cam)


def test_looking_for_places_leaves_a_training_alone() -> None:
    network = build(reference("cifar_vgg/vgg8"), 4, [0.5] * 3, [0.2] * 3, seed=0, side=8).train()
    network.body.block2.eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    torch.manual_seed(3)
    want = torch.rand(2)
    torch.manual_seed(3)
    assert network.cam == "block3"
    assert torch.equal(torch.rand(2), want)
    assert network.training
    assert [b.training for b in (network.body.block1, network.body.block2)] == [True, False]
    after = network.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert not any(module._forward_hooks for module in network.modules())
