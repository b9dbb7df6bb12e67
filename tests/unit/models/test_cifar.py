"""The CIFAR family of the distillation literature: sizes, layers, and their building blocks."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models.mobilenetv2 import InvertedResidual
from torchvision.models.resnet import BasicBlock, Bottleneck
from torchvision.models.shufflenetv2 import channel_shuffle

from kdpipe.base.plugin import resolve
from kdpipe.models import builders, cifar_mobilenet_v2, cifar_resnet, wrn
from kdpipe.models.base import Network, build
from kdpipe.models.shufflenet_v1 import Shuffle, Unit

# Parameters with 100 classes; shape of the maps at the hint and at Grad-CAM's layer; features.
NETWORKS = {
    "wrn": ({}, 2_255_156, (64, 16, 16), (128, 8, 8)),
    "shufflenet_v1": ({}, 949_258, (480, 8, 8), (960, 4, 4)),
    "vgg13": ({"name": "cifar_vgg"}, 9_462_180, (256, 8, 8), (512, 4, 4)),
    "vgg8": ({"name": "cifar_vgg"}, 3_965_028, (256, 8, 8), (512, 4, 4)),
    "resnet50": ({"name": "cifar_resnet"}, 23_705_252, (512, 16, 16), (2048, 4, 4)),
    "cifar_mobilenet_v2": ({}, 812_836, (32, 4, 4), (1280, 2, 2)),
    "resnet20": ({"name": "cifar_resnet"}, 278_324, (32, 16, 16), (64, 8, 8)),
    "resnet32": ({"name": "cifar_resnet"}, 472_756, (32, 16, 16), (64, 8, 8)),
    "resnet56": ({"name": "cifar_resnet"}, 861_620, (32, 16, 16), (64, 8, 8)),
    "resnet110": ({"name": "cifar_resnet"}, 1_736_564, (32, 16, 16), (64, 8, 8)),
}


def network(name: str, n_classes: int = 100) -> Network:
    options, *_ = NETWORKS[name]
    ref = {"name": name} if not options else {**options, "arch": name}
    return build(resolve(builders, ref), n_classes, [0.5] * 3, [0.25] * 3, seed=0)


@pytest.mark.parametrize("name", NETWORKS)
def test_parameters_layers_and_a_step_at_32_pixels(name):
    _, count, hint, cam = NETWORKS[name]
    net = network(name)
    assert sum(p.numel() for p in net.parameters()) == count
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    names = ("hint", "cam", "penultimate", *(f"F{k}" for k in range(1, 8)))
    logits, features = net.with_features(images, names)
    assert logits.shape == (2, 100)
    assert features["hint"].shape[1:] == hint
    assert features["cam"].shape[1:] == cam
    assert features["penultimate"].shape[1:] == cam[:1]
    # Seven layers from input to output, of which the last are what classifies and the logits.
    assert len(set(net.layers.cka)) == 7
    sides = [features[f"F{k}"].shape[-1] for k in range(1, 6)]
    assert sides == sorted(sides, reverse=True)
    assert torch.equal(features["F6"], features["penultimate"])
    assert torch.equal(features["F7"], logits)
    torch.testing.assert_close(features["cam"].mean((2, 3)), features["penultimate"])
    torch.testing.assert_close(net.body.fc(features["penultimate"]), logits)
    F.cross_entropy(logits, torch.tensor([0, 1])).backward()
    # (Where the only normalised value of a channel is a pair, its gradient may vanish.)
    assert all(p.grad is not None for p in net.parameters())
    assert net.layer("F1").parameters().__next__().grad.abs().sum() > 0


def test_classes_are_in_the_last_layer_only():
    ten, hundred = network("resnet20", 10), network("resnet20")
    sizes = [sum(p.numel() for p in net.parameters()) for net in (ten, hundred)]
    assert sizes[1] - sizes[0] == 90 * 65


def test_wide_resnet_of_other_size():
    ref = resolve(builders, {"name": "wrn", "depth": 16, "width": 1, "dropout": 0.3})
    net = build(ref, 100, [0.5] * 3, [0.25] * 3, seed=0)
    assert len(net.body.stage1) == 2
    assert net.layer("stage3.0.dropout").p == 0.3
    with pytest.raises(ValueError, match="depth: 6n"):
        wrn.WRNOptions(depth=41)


@pytest.mark.parametrize(("bottleneck", "stride"), [(False, 1), (False, 2), (True, 1), (True, 2)])
def test_residual_block_is_that_of_torchvision(bottleneck, stride):
    before, after = 8, (16 if bottleneck else 4)
    ours = cifar_resnet.Block(before, 4, stride, bottleneck).eval()
    shortcut = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))
    kind = Bottleneck if bottleneck else BasicBlock
    theirs = kind(before, 4, stride, shortcut).eval()
    names = ["conv1", "bn1", "conv2", "bn2", "conv3", "bn3"][: 6 if bottleneck else 4]
    parts = [m for m in ours.main if not isinstance(m, nn.ReLU)]
    for name, part in zip(names, parts, strict=True):
        getattr(theirs, name).load_state_dict(part.state_dict())
    shortcut.load_state_dict(ours.shortcut.state_dict())
    x = torch.randn(2, before, 6, 6)
    torch.testing.assert_close(ours(x), theirs(x))


def test_residual_block_keeps_its_input_where_shapes_agree():
    block = cifar_resnet.Block(4, 4, 1, False).eval()
    assert isinstance(block.shortcut, nn.Identity)
    nn.init.zeros_(block.main[-1].weight)
    x = torch.randn(2, 4, 5, 5)
    assert torch.equal(block(x), x.relu())


@pytest.mark.parametrize("stride", [1, 2])
def test_inverted_residual_is_that_of_torchvision(stride):
    """The ReLUs there end at 6, which nothing reaches here."""
    ours = cifar_mobilenet_v2.Block(4, 4, stride, 6).eval()
    theirs = InvertedResidual(4, 4, stride, 6).eval()
    state = zip(theirs.state_dict(), ours.main.state_dict().values(), strict=True)
    theirs.load_state_dict(dict(state))
    x = torch.randn(2, 4, 6, 6) / 2
    torch.testing.assert_close(ours(x), theirs(x))
    assert ours.residual == theirs.use_res_connect == (stride == 1)


def test_channels_are_shuffled_as_in_torchvision():
    x = torch.randn(2, 12, 3, 3)
    assert torch.equal(Shuffle(3)(x), channel_shuffle(x, 3))
    assert torch.equal(Shuffle(1)(x), x)


def test_shuffle_unit_adds_or_appends_its_input():
    x = torch.randn(2, 240, 6, 6)
    same, down = Unit(240, 240, 1).eval(), Unit(240, 480, 2).eval()
    torch.testing.assert_close(same(x), F.relu(x + same.main(x)))
    pooled = F.avg_pool2d(x, 3, 2, 1)
    torch.testing.assert_close(down(x), F.relu(torch.cat([down.main(x), pooled], 1)))
    assert down.main[0].groups == 3
    assert Unit(24, 240, 2).main[0].groups == 1


@pytest.mark.parametrize(("after", "stride"), [(8, 1), (8, 2), (4, 1)])
def test_wide_block_normalises_before_it_convolves(after, stride):
    block = wrn.Block(4, after, stride, 0.5).eval()
    x = torch.randn(2, 4, 6, 6)
    active = F.relu(block.bn1(x))
    inner = F.conv2d(active, block.conv1.weight, stride=stride, padding=1)
    want = F.conv2d(F.relu(block.bn2(inner)), block.conv2.weight, padding=1)
    want = want + (x if after == 4 else F.conv2d(active, block.shortcut.weight, stride=stride))
    torch.testing.assert_close(block(x), want)


def test_convolutions_start_with_the_variance_of_he():
    net = network("vgg8")
    weight = net.body.block5[0].weight
    assert float(weight.detach().std()) == pytest.approx((2 / (512 * 9)) ** 0.5, rel=0.01)
    assert not net.body.block5[0].bias.any()
