"""``timm/NAME``, against a stand-in and, if it is installed, the package itself."""

from __future__ import annotations

import importlib.util
import sys
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from kdpipe.base.errors import KdpipeError, PassingError
from kdpipe.base.plugin import resolve
from kdpipe.models import builders
from kdpipe.models.base import Network, build

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)


class SmallNet(nn.Module):
    """What timm's convolutional networks look like."""

    def __init__(self, num_classes: int, fixed: bool) -> None:
        super().__init__()
        self.stages = nn.Sequential(
            *[
                nn.Sequential(nn.Conv2d(a, b, 3, 2, 1), nn.ReLU(inplace=True))
                for a, b in ((3, 4), (4, 6), (6, 8))
            ]
        )
        self.head_drop = nn.Dropout(0.5)
        self.fc = nn.Linear(8, num_classes)
        size = {"input_size": (3, 32, 32), "fixed_input_size": fixed}
        self.pretrained_cfg = {**size, "mean": MEAN, "std": STD}

    def forward(self, x):
        return self.fc(self.head_drop(self.stages(x).mean((2, 3))))


@pytest.fixture
def calls(monkeypatch):
    """The stand-in; what it was asked to create."""
    asked = []

    def create_model(name, *, num_classes=10, pretrained=False):
        asked.append((name, pretrained))
        if pretrained and "unreachable" in name:
            raise RuntimeError("no network\nat all")
        return SmallNet(num_classes, fixed=name.startswith("fixed"))

    module = SimpleNamespace(
        is_model=lambda name: name.partition(".")[0] in ("small", "fixed"),
        create_model=create_model,
    )
    monkeypatch.setitem(sys.modules, "timm", module)
    return asked


def network(arch: str) -> Network:
    return build(resolve(builders, {"name": "timm", "arch": arch}), 4, MEAN, STD, seed=0).eval()


def test_layers_and_logits(calls):
    net = network("small")
    names = ("penultimate", "cam", "hint", "F1")
    logits, features = net.with_features(torch.rand(2, 3, 32, 32), names)
    assert {name: tuple(f.shape[1:]) for name, f in features.items()} == {
        "penultimate": (8,),
        "cam": (8, 4, 4),
        "hint": (6, 8, 8),
        "F1": (4, 16, 16),
    }
    torch.testing.assert_close(net.body.fc(features["penultimate"]), logits)
    assert not net.body.stages[0][1].inplace
    assert calls == [("small", False)]


def test_size_that_an_architecture_is_built_for(calls):
    network("small")(torch.rand(1, 3, 48, 48))
    with pytest.raises(KdpipeError, match="takes images of 32×32 pixels, not 48×48"):
        network("fixed")(torch.rand(1, 3, 48, 48))


@pytest.mark.parametrize(("tag", "name"), [("default", "small.a"), ("b_in1k", "small.b_in1k")])
def test_published_weights_by_their_tag(calls, tag, name):
    cls = builders.get("timm")
    got = cls(cls.Options(arch="small.a")).published(tag)
    assert calls == [(name, True)]
    assert (got.origin, got.mean, got.std) == (f"timm {name}", MEAN, STD)
    assert got.state["fc.weight"].shape == (10, 8)
    with pytest.raises(PassingError, match=r"cannot get 'small.unreachable' \(no network\)"):
        cls(cls.Options(arch="small.a")).published("unreachable")


def test_unknown_architecture(calls):
    with pytest.raises(KdpipeError, match="timm has no model 'large'"):
        network("large")


def test_package_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(KdpipeError, match=r"timm/small needs the package timm, .*'kdpipe\[timm\]'"):
        network("small")


@pytest.mark.skipif(not importlib.util.find_spec("timm"), reason="timm is not installed")
@pytest.mark.parametrize(
    "arch", ["resnet18", "vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"]
)
def test_networks_of_the_package(arch):
    net = network(arch)
    with torch.no_grad():
        logits, features = net.with_features(torch.rand(1, 3, 224, 224), ["cam", "hint", "F1"])
    assert logits.shape == (1, 4)
    assert all(f.dim() == 4 and f.shape[2] == f.shape[3] for f in features.values())
