"""torchvision's networks by name: their layers, images, and blur pooling."""

from __future__ import annotations

import copy
import functools

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from kdpipe.base.errors import KdpipeError
from kdpipe.base.plugin import resolve
from kdpipe.models import builders
from kdpipe.models.base import Network, build
from kdpipe.models.shared.blur_pool import BlurPool
from kdpipe.models.shared.by_shape import describe
from kdpipe.models.torchvision import Torchvision, TorchvisionOptions


def network(arch: str, n_classes: int = 4, **options) -> Network:
    ref = resolve(builders, {"name": "torchvision", "arch": arch, **options})
    return build(ref, n_classes, [0.5] * 3, [0.25] * 3, seed=0).eval()


def shapes(arch: str, size: int = 224) -> dict[str, tuple[int, ...]]:
    """Of F1 … F7 as maps, computed without numbers."""
    builder = Torchvision(TorchvisionOptions(arch=arch))
    with torch.device("meta"):
        body = builder.body(10)
        net = Network(body, builder.layers(body), [0.5] * 3, [0.25] * 3).eval()
        names = [f"F{k}" for k in range(1, 8)]
        _, features = net.with_features(torch.empty(1, 3, size, size), names)
    return {name: tuple(f.shape[1:]) for name, f in features.items()}


# What the paper's layers F1 (56×56) … F7 (logits) are in its networks.
PRESETS = {
    "resnet18": [(64, 56), (64, 56), (128, 28), (256, 14), (512, 7), (512, 1), (10,)],
    "resnet50": [(64, 56), (256, 56), (512, 28), (1024, 14), (2048, 7), (2048, 1), (10,)],
    "vgg11": [(128, 56), (256, 56), (512, 28), (512, 14), (512, 7), (4096,), (10,)],
    "vgg19": [(128, 56), (256, 56), (512, 28), (512, 14), (512, 7), (4096,), (10,)],
    "swin_t": [(96, 56), (96, 56), (192, 28), (384, 14), (768, 7), (768,), (10,)],
    "swin_v2_t": [(96, 56), (96, 56), (192, 28), (384, 14), (768, 7), (768,), (10,)],
    "vit_b_32": [(768, 7), (768, 7), (768, 7), (768, 7), (768, 7), (768,), (10,)],
    "mobilenet_v2": [(16, 112), (24, 56), (32, 28), (96, 14), (1280, 7), (1280,), (10,)],
    "efficientnet_b0": [(16, 112), (24, 56), (40, 28), (112, 14), (1280, 7), (1280,), (10,)],
    "densenet121": [(64, 112), (256, 56), (512, 28), (1024, 14), (1024, 7), (1024,), (10,)],
    "maxvit_t": [(64, 112), (64, 56), (128, 28), (256, 14), (512, 7), (512,), (10,)],
}


@pytest.mark.parametrize("arch", PRESETS)
def test_presets_name_maps_of_falling_resolution_features_and_logits(arch):
    want = [(s[0], s[1], s[1]) if len(s) == 2 else s for s in PRESETS[arch]]
    assert list(shapes(arch).values()) == want


def test_hint_of_vgg_is_the_convolution_that_the_paper_takes():
    for arch, convolution in (("vgg11", 4), ("vgg19", 7)):
        with torch.device("meta"):
            builder = Torchvision(TorchvisionOptions(arch=arch))
            body = builder.body(10)
        hint = int(builder.layers(body).hint.split(".")[1])
        assert sum(isinstance(m, nn.Conv2d) for m in body.features[:hint]) == convolution
        assert isinstance(body.features[hint], nn.ReLU)


# Families that nobody described

SMALL = (
    "mobilenet_v3_small",
    "shufflenet_v2_x0_5",
    "regnet_x_400mf",
    "squeezenet1_1",
    "mnasnet0_5",
)


@pytest.mark.parametrize("arch", SMALL)
def test_layers_found_by_shape_mean_what_they_say(arch):
    net = network(arch)
    names = ("penultimate", "cam", "hint", *net.layers.cka)
    images = torch.rand(2, 3, 64, 64)
    logits, features = net.with_features(images, names)
    assert logits.shape == (2, 4)
    assert features["cam"].dim() == features["hint"].dim() == 4
    assert features["hint"].shape[-1] > features["cam"].shape[-1]
    head = net.layer(net.layers.cka[-1])
    torch.testing.assert_close(head(features["penultimate"]), features[net.layers.cka[-1]])
    logits.sum().backward()
    assert all(p.grad is not None for p in net.parameters())


def test_penultimate_layer_that_was_found_is_read_before_dropout():
    net = network("mobilenet_v3_small")
    dropout = net.body.classifier[2]
    assert isinstance(dropout, nn.Dropout)
    dropout.train()
    images = torch.rand(2, 3, 32, 32)
    torch.manual_seed(0)
    with torch.no_grad():
        one, first = net.with_features(images, ["penultimate"])
        other, second = net.with_features(images, ["penultimate"])
    assert not torch.equal(one, other)
    assert torch.equal(first["penultimate"], second["penultimate"])
    assert first["penultimate"].all()


def test_finding_layers_leaves_names_values_and_mode_of_the_weights():
    body = torchvision.models.mobilenet_v3_small(num_classes=4).train()
    before = {name: tensor.clone() for name, tensor in body.state_dict().items()}
    describe(body, 64)
    after = body.state_dict()
    assert body.training
    assert before.keys() == after.keys()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_copied_network_uses_its_own_layers():
    net = network("shufflenet_v2_x0_5", antialias=False)
    twin = copy.deepcopy(net)
    nn.init.zeros_(net.body.conv1[0].weight)
    images = torch.rand(2, 3, 32, 32)
    _, theirs = net.with_features(images, ["penultimate"])
    _, own = twin.with_features(images, ["penultimate"])
    assert not torch.equal(own["penultimate"], theirs["penultimate"])


class Blocks(nn.Module):
    """Tokens of one resolution, as timm's transformers keep them."""

    def __init__(self, depth: int = 8) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 6, 8, 8)
        self.blocks = nn.Sequential(*[self.block() for _ in range(depth)])
        self.head_drop = nn.Dropout(0.1)
        self.head = nn.Linear(6, 4)

    @staticmethod
    def block() -> nn.Module:
        block = nn.Sequential()
        block.add_module("norm1", nn.LayerNorm(6))
        block.add_module("mlp", nn.Linear(6, 6))
        return block

    def forward(self, x):
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        return self.head(self.head_drop(self.blocks(tokens).mean(1)))


def test_layers_of_tokens_are_quarters_of_the_blocks():
    body = Blocks()
    layers = describe(body, 32)
    quarters = ["blocks.1", "blocks.3", "blocks.5", "blocks.7"]
    assert layers.cka == ("patches", *quarters, "head_drop.features", "head")
    assert layers.cam == "blocks.7"  # of which the classifier takes the mean
    net = Network(body, layers, [0.5] * 3, [0.25] * 3).eval()
    logits, features = net.with_features(torch.rand(2, 3, 32, 32), ["F3", "penultimate"])
    assert features["F3"].shape == (2, 6, 4, 4)
    torch.testing.assert_close(body.head(features["penultimate"]), logits)


def test_network_without_stages_is_refused():
    with pytest.raises(KdpipeError, match="Sequential cannot be told from their shapes"):
        describe(nn.Sequential(nn.Flatten(), nn.Linear(48, 4)), 4)


@pytest.mark.parametrize("arch", ["googlenet", "inception_v3"])
def test_inceptions_give_logits_alone_in_training_too(arch):
    with torch.device("meta"):
        body = Torchvision(TorchvisionOptions(arch=arch)).body(4).train()
        assert body(torch.empty(2, 3, 299, 299)).shape == (2, 4)


def test_unknown_layer_of_a_large_network_is_answered_with_its_parts():
    net = network("shufflenet_v2_x0_5")
    with pytest.raises(KdpipeError) as caught:
        net.layer("layer2")
    message = str(caught.value)
    assert "no layer 'layer2'" in message
    assert "stage2, stage2.0" in message
    assert "F3 = stage2" in message
    assert "branch2" not in message
    for name in ("F0", "F8", "F", "F1x"):
        with pytest.raises(KdpipeError, match=f"no layer '{name}'"):
            net.layer(name)


def test_unknown_architecture_is_answered_with_close_ones():
    with pytest.raises(KdpipeError, match=r"torchvision has no model 'resnet19' .* resnet18"):
        network("resnet19")
    with pytest.raises(KdpipeError, match="classifies images"):
        network("fasterrcnn_resnet50_fpn")


# Size of the images


def test_transformer_for_images_of_another_size():
    options = {"arch": "vit_b_32", "image_size": 64}
    net = build(resolve(builders, {"name": "torchvision", **options}), 4, [0.5] * 3, [0.25] * 3, 0)
    with torch.no_grad():
        _, features = net.eval().with_features(torch.rand(1, 3, 64, 64), ["hint"])
    assert features["hint"].shape == (1, 768, 2, 2)
    with pytest.raises(KdpipeError, match=r"takes images of 64×64 pixels, not 32×32; change"):
        net(torch.rand(1, 3, 32, 32))


def test_size_of_a_network_that_takes_any_is_refused():
    with pytest.raises(
        ValueError, match="image_size: torchvision's 'resnet18' takes images of any"
    ):
        resolve(builders, {"name": "torchvision", "arch": "resnet18", "image_size": 64})


# Blur pooling

SMOOTHED = ("resnet18", "resnet50", "vgg11_bn", "mobilenet_v2", "densenet121")


@functools.cache
def on_meta(arch: str, antialias: bool) -> Network:
    builder = Torchvision(TorchvisionOptions(arch=arch, antialias=antialias))
    with torch.device("meta"):
        body = builder.body(10)
        return Network(body, builder.layers(body), [0.5] * 3, [0.25] * 3).eval()


@pytest.mark.parametrize("arch", SMOOTHED)
def test_blur_pooling_keeps_shapes_and_names_of_weights(arch):
    plain, smooth = on_meta(arch, False), on_meta(arch, True)
    assert plain.state_dict().keys() == smooth.state_dict().keys()
    x = torch.empty(1, 3, 224, 224, device="meta")
    names = [f"F{k}" for k in range(1, 8)]
    found = [net.with_features(x, names)[1] for net in (plain, smooth)]
    assert plain.layers == smooth.layers
    assert [f.shape for f in found[0].values()] == [f.shape for f in found[1].values()]


@pytest.mark.parametrize("arch", SMOOTHED)
def test_nothing_but_blur_pooling_and_the_first_convolution_subsamples(arch):
    net = on_meta(arch, True)
    strided = [
        module
        for module in net.modules()
        if isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d)
        and module.stride not in (1, (1, 1))
    ]
    first = next(m for m in net.modules() if isinstance(m, nn.Conv2d))
    assert strided == ([] if arch.startswith("vgg") else [first])
    blurred = sum(name.endswith(".blur") for name, _ in net.named_modules())
    # resnet: max pooling, and main path and shortcut of three blocks
    want = {"vgg11_bn": 5, "mobilenet_v2": 4, "densenet121": 4}
    assert blurred == want.get(arch, 7)


def test_block_with_blur_pooling_blurs_after_the_relu_and_before_the_shortcut():
    block = network("resnet18", antialias=True).body.layer2[0]
    x = torch.randn(2, 64, 8, 8)
    inner = F.relu(block.bn1(F.conv2d(x, block.conv1.weight, padding=1)))
    main = block.bn2(F.conv2d(BlurPool(128)(inner), block.conv2.weight, padding=1))
    kept = block.downsample[1](F.conv2d(BlurPool(64)(x), block.downsample[0].weight))
    torch.testing.assert_close(block(x), F.relu(main + kept))


def test_max_pooling_with_blur_pooling_takes_the_maximum_at_every_place():
    net = network("resnet18", antialias=True)
    x = torch.randn(2, 64, 8, 8)
    torch.testing.assert_close(net.body.maxpool(x), BlurPool(64)(F.max_pool2d(x, 2, 1)))
    twin = copy.deepcopy(net)
    assert torch.equal(twin.body.maxpool(x), net.body.maxpool(x))


def test_features_change_less_under_a_shift_with_blur_pooling():
    """Of the last stage, whose stride is 32, when the image moves by 4 pixels."""
    coarse = torch.rand(4, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    images = F.interpolate(coarse, 160, mode="bilinear")

    def change(antialias: bool) -> float:
        net = network("resnet18", antialias=antialias)
        with torch.no_grad():
            _, a = net.with_features(images[..., :128], ["F5"])
            _, b = net.with_features(images[..., 4:132], ["F5"])
        return float((a["F5"] - b["F5"]).norm() / a["F5"].norm())

    assert change(True) < change(False)


def test_blur_pooling_where_kdpipe_does_not_know_its_place_is_refused():
    with pytest.raises(
        ValueError, match=r"antialias: .* 'swin_t' subsamples; it knows it of resnet"
    ):
        resolve(builders, {"name": "torchvision", "arch": "swin_t", "antialias": True})
