"""Every plug-in of kdpipe keeps the contracts of its kind, as those of other packages have to."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from helpers import miniature
from kdpipe.data.sources import sources
from kdpipe.distill import objectives
from kdpipe.models import builders
from kdpipe.probes import probes
from kdpipe.testing import (
    check_network,
    check_source,
    checks_of_network,
    checks_of_objective,
    checks_of_probe,
)

# What makes a check small, or a plug-in cannot do without. A new plug-in needs no entry.
OBJECTIVES: dict[str, dict[str, Any]] = {
    "crd": {"negatives": 8, "dimension": 8},
    "sum": {"terms": ["dist", {"crd": {"negatives": 8, "dimension": 8}}]},
}
PROBES: dict[str, dict[str, Any]] = {
    "backdoor": {"target": "star"},
    "boundary": {"triplets": 3, "resolution": 5},
    "cka": {"limit": 12, "replicates": 3},
    "colour": {"strengths": [0.4, 0.6]},
    "corruptions": {"corruptions": ["jpeg", "shot_noise"], "severities": [2, 5]},
    "crop": {"scales": [0.4, 0.6]},
    "fairness": {"positive": "star"},
    "memory": {
        "members": {"set": "trial", "domains": ["plain", "tinted"], "labels": {"noise": 0.3}},
        "replicates": 3,
    },
    "ood": {"unknown": {"domains": ["tinted"], "classes": ["star"]}, "replicates": 3},
    "robustness": {"epsilons": [0.1, 0.02], "steps": 2, "restarts": 2},
    "shift": {"shifts": [16, 32], "distinct": True},
    "withheld": {"classes": ["star"], "fit": "val"},
}
LINEAR = {"weights"}
TINY_VIT = {
    "model_type": "vit",
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "image_size": 32,
    "patch_size": 8,
}
NETWORKS: dict[str, dict[str, Any]] = {
    "cifar_mobilenet_v2": {"width": 0.25},
    "huggingface": {"path": "vit", "config": TINY_VIT},
    "mlp": {"hidden": [6]},
    "timm": {"arch": "resnet10t"},
    "wrn": {"depth": 10, "width": 1},
}
FILES = ("exported", "factory", "torchscript")
"""Networks that are code of others: the tests make it."""
SOURCES: dict[str, dict[str, Any]] = {
    "domain_folder": {"path": "PACS"},
    "image_folder": {"path": "imagenet"},
    "imagenet_c": {"severities": [1]},
    "model_vs_human": {"folders": ["sketch"]},
    "parquet": {"path": "hub"},
    "points": {"train": 8, "val": 4, "test": 8},
}


@pytest.mark.parametrize(
    "check",
    [c for name in objectives.names() for c in checks_of_objective(name, OBJECTIVES.get(name))],
)
def test_objectives(check):
    check()


@pytest.mark.parametrize(
    "check",
    [
        check
        for name in probes.names()
        for check in checks_of_probe(name, PROBES.get(name), linear=name in LINEAR)
    ],
)
def test_probes(check):
    check()


@pytest.mark.parametrize(
    "check",
    [
        check
        for name in builders.names()
        if name not in FILES and (name != "timm" or importlib.util.find_spec("timm"))
        for check in checks_of_network(name, NETWORKS.get(name))
    ],
)
def test_networks(check):
    check()


def small(n_classes: int = 5) -> nn.Module:
    """What the factory of the test calls, and the files hold."""
    torch.manual_seed(4)
    parts = nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    body = nn.Sequential(*parts, nn.Linear(4, n_classes)).eval()
    with torch.no_grad():
        body[-1].weight.mul_(10)
    return body


def test_a_factory(monkeypatch):
    module = type(sys)("somebodys_package")
    module.make = small  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "somebodys_package", module)
    check_network("factory", {"call": "somebodys_package:make", "trust_code": True})


@pytest.mark.parametrize("kind", ["exported", "torchscript"])
def test_a_compiled_file(kind, tmp_path, monkeypatch):
    monkeypatch.setenv("KDPIPE_DATA", str(tmp_path))
    if kind == "torchscript":
        torch.jit.script(small()).save(tmp_path / "net.pt")
    else:
        images = torch.rand(2, 3, 32, 32)
        many = {"images": {0: torch.export.Dim("n")}}
        body = small()
        body.forward = lambda images: nn.Sequential.forward(body, images)  # names the input
        torch.export.save(
            torch.export.export(body, (images,), dynamic_shapes=many), tmp_path / "net.pt"
        )
    check_network(kind, {"path": "net.pt", "trust_code": True})


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """A few images in the layout of each source."""
    root = tmp_path_factory.mktemp("data")
    miniature.mnist(root / "mnist")
    miniature.fairface(root / "fairface", each=1)
    for name in ("imagenet", "stylized-imagenet"):
        miniature.imagenet(root / name)
    for name, domains, classes in (("PACS", miniature.PACS, 7), ("VLCS", miniature.VLCS, 5)):
        miniature.domain_folders(root / name, domains, [f"class{k}" for k in range(classes)], 1)
    miniature.parquet(root / "hub" / "train-0.parquet", [0, 1, 2, 3], [0, 1, 0, 1], ["ant", "bee"])
    miniature.folders(root / "model-vs-human" / "sketch", ["cat", "dog"], 2)
    miniature.corrupted(root)
    return root


@pytest.mark.parametrize("name", sources.names())
def test_sources(name, data, monkeypatch):
    if name in ("cifar10", "cifar100"):
        miniature.known_cifar(data / name, int(name.removeprefix("cifar")), monkeypatch)
    check_source(name, SOURCES.get(name), root=data)
