"""Weights that torchvision publishes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
import yaml
from torch import nn

from helpers.given_weights import taken, write_images
from helpers.places import DOCS
from kdpipe.base.errors import KdpipeError, PassingError
from kdpipe.base.plugin import resolve
from kdpipe.models import builders
from kdpipe.models.weights.find import _renamed


@pytest.fixture
def root(kit, tmp_path) -> Path:
    return write_images(kit, tmp_path)


TINY = "squeezenet1_1"


@pytest.fixture
def patched(monkeypatch):
    """torchvision's weights from memory; the addresses that were asked for."""
    torch.manual_seed(3)
    state = torchvision.models.get_model(TINY).state_dict()
    asked = []

    def given(url, **_):
        asked.append(url)
        return state

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", given)
    return state, asked


def imagenet(kit, root: Path, names: list[str], n: int = 4) -> None:
    pixels = np.zeros((n, 32, 32, 3), np.uint8)
    kit.write_subset(root / "subset/set", pixels, range(n), names, split="train")


def test_published_weights_bring_their_normalisation(root, kit, patched):
    names = [f"n{k:08d}" for k in range(1000)]
    imagenet(kit, root, names)
    ref = resolve(builders, {"name": "torchvision", "arch": TINY})
    got = taken(root, ref, published="IMAGENET1K_V1")
    state, asked = patched
    assert len(asked) == 1
    assert f"{TINY}" in asked[0]
    theirs = torchvision.models.get_model(TINY)
    theirs.load_state_dict(state)
    images = torch.rand(2, 3, 48, 48)
    usual = torchvision.transforms.functional.normalize(
        images, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    )
    torch.testing.assert_close(got(images), theirs.eval()(usual))
    about = json.loads((root / "models/m/seed0/model.json").read_text())
    assert about["classes"] == names
    assert about["weights"] == f"torchvision {TINY} IMAGENET1K_V1"
    assert len(about["provenance"]["inputs"]["weights"]) == 64


def test_published_weights_count_classes_by_wordnet_id(root, kit, patched):
    imagenet(kit, root, [f"n{k:08d}" for k in range(1000, 0, -1)])
    with pytest.raises(KdpipeError, match="in the order of their WordNet ids, but data set 'set'"):
        taken(
            root,
            resolve(builders, {"name": "torchvision", "arch": TINY}),
            published="IMAGENET1K_V1",
        )


def test_classes_of_imagenet_by_name_beside_another_task(root, kit, patched):
    imagenet(kit, root, list("abcd"))
    taken(
        root,
        resolve(builders, {"name": "torchvision", "arch": TINY}),
        published="IMAGENET1K_V1",
        classes="imagenet",
    )
    classes = json.loads((root / "models/m/seed0/model.json").read_text())["classes"]
    assert (len(classes), classes[0], classes[-1]) == (1000, "tench", "toilet tissue")


def test_published_weights_on_fewer_classes_are_refused(root, patched):
    ref = resolve(builders, {"name": "torchvision", "arch": TINY})
    with pytest.raises(KdpipeError, match=r"'classifier.1.bias' has the shape \(1000,\)"):
        taken(root, ref, published="IMAGENET1K_V1", size=64)


def test_unknown_published_weights_are_answered_with_the_known(root):
    ref = resolve(builders, {"name": "torchvision", "arch": "resnet50"})
    with pytest.raises(KdpipeError, match=r"no weights 'V7' .* has IMAGENET1K_V1, IMAGENET1K_V2"):
        taken(root, ref, published="V7")
    with pytest.raises(KdpipeError, match="none published as 'V7' for the network 'mlp'"):
        taken(root, published="V7")


def test_published_weights_that_cannot_be_had_are_a_passing_failure(root, monkeypatch):
    def unreachable(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", unreachable)
    ref = resolve(builders, {"name": "torchvision", "arch": TINY})
    with pytest.raises(PassingError, match=r"cannot get IMAGENET1K_V1 .* \(no network\)"):
        taken(root, ref, published="IMAGENET1K_V1")


def test_published_weights_of_another_image_size_are_refused(root):
    ref = resolve(builders, {"name": "torchvision", "arch": "vit_b_32", "image_size": 64})
    with pytest.raises(KdpipeError, match=r"IMAGENET1K_V1 does not fit 'vit_b_32': .*image_size"):
        taken(root, ref, published="IMAGENET1K_V1")


def test_inception_gets_the_range_that_it_was_trained_with(monkeypatch):
    """torchvision would change images inside of the network; kdpipe's normalisation does."""
    body = nn.Linear(1, 1)
    body.transform_input = True
    builder = builders.get("torchvision")
    made = builder(builder.Options(arch="inception_v3"))
    monkeypatch.setattr(made, "_model", lambda **_: body)
    got = made.published("IMAGENET1K_V1")
    assert got.mean == got.std == [0.5] * 3


def test_names_of_published_antialiased_networks_fit_by_the_map_of_the_manual():
    """docs/networks.md: blur pooling is a module of its own there, which shifts its neighbours."""
    options = {"arch": "resnet50", "antialias": True}
    cls = builders.get("torchvision")
    with torch.device("meta"):
        ours = cls(cls.Options(**options)).body(10).state_dict()
    theirs = {"maxpool.1.filt": torch.ones(1)}
    for name, tensor in ours.items():
        if re.match(r"layer[234]\.0\.", name):
            name = name.replace("conv3.", "conv3.1.")
            name = name.replace("downsample.1.", "downsample.2.")
            name = name.replace("downsample.0.", "downsample.1.")
        theirs[name] = tensor
    for k in (2, 3, 4):
        theirs |= {f"layer{k}.0.{part}.0.filt": torch.ones(1) for part in ("conv3", "downsample")}
    text = (DOCS / "networks.md").read_text()
    written = re.search(r"names need\s+`key_map: (\{.*?\})` \(`conv2`", text, re.DOTALL)
    key_map = yaml.safe_load(written[1])
    assert _renamed(theirs, key_map, "").keys() == ours.keys()
    assert len(theirs) == len(ours) + 7
