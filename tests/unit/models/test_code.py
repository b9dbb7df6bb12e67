"""Networks that are code (compiled files, factories) load only if the study trusts them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from kdpipe.base.errors import KdpipeError
from kdpipe.base.paths import ModelRef
from kdpipe.base.plugin import resolve
from kdpipe.data.selection import Selection
from kdpipe.models import builders
from kdpipe.models.base import Network
from kdpipe.models.weights.options import Weights
from kdpipe.stages import train
from kdpipe.stages.base import Call
from kdpipe.study.schema import parse
from kdpipe.training.artefact import load
from kdpipe.training.compute import Compute
from kdpipe.training.recipe import Recipe

MEAN, STD = [0.4, 0.5, 0.6], [0.2, 0.25, 0.3]
OWN = {"published": "own", "mean": MEAN, "std": STD}


def body() -> nn.Module:
    torch.manual_seed(4)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    ).eval()


@pytest.fixture
def root(kit, tmp_path, monkeypatch) -> Path:
    names = ["a", "b", "c"]
    kit.write_subset(tmp_path / "subset" / "set", kit.numbered(6), [0, 1, 2] * 2, names)
    monkeypatch.setenv("KDPIPE_DATA", str(tmp_path))
    return tmp_path


def export(path: Path, batch: int | None = None) -> None:
    shapes = None if batch else ({0: torch.export.Dim("n", min=1)},)
    images = torch.rand(batch or 2, 3, 8, 8)
    torch.export.save(torch.export.export(body(), (images,), dynamic_shapes=shapes), path)


SAVED = {
    "torchscript": lambda path: torch.jit.trace(body(), torch.rand(2, 3, 8, 8)).save(str(path)),
    "exported": export,
}


def taken(root: Path, name: str, weights=OWN, **options) -> Network:
    settings = train.TrainSettings(
        ref=ModelRef(model="m"),
        network=resolve(builders, {"name": name, "trust_code": True, **options}),
        data=Selection(set="set", domains=["grey"]),
        augment=[],
        recipe=Recipe(),
        compute=Compute(),
        weights=Weights(**weights),
    )
    train.run(settings, Call(root, root / settings.ref.path, data_root=root))
    return load(root / settings.ref.path)


@pytest.mark.parametrize("name", SAVED)
def test_a_compiled_network_answers_as_it_did_and_has_gradients(root, name):
    SAVED[name](root / "net.bin")
    got = taken(root, name, path="net.bin")
    images = torch.rand(5, 3, 8, 8, requires_grad=True)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))
    torch.testing.assert_close(got(images), body()((images - mean) / std))
    assert torch.autograd.grad(got(images).sum(), images)[0].abs().sum() > 0
    with pytest.raises(KdpipeError, match="It is unknown which layer of this network is 'cam'"):
        got.layer("cam")
    # Its file is pinned: another one under the same name is not loaded later.
    about = json.loads((root / "models/m/seed0/model.json").read_text())
    assert len(about["network"]["options"]["sha256"]) == 64
    (root / "net.bin").write_bytes(b"other")
    with pytest.raises(KdpipeError, match=r"net\.bin: its SHA-256 is .*another file"):
        load(root / "models/m/seed0")


@pytest.mark.parametrize("name", SAVED)
def test_a_file_that_is_none_is_named(root, name):
    (root / "net.bin").write_bytes(b"no zip")
    with pytest.raises(KdpipeError, match=rf"net\.bin cannot be loaded as the network '{name}'"):
        taken(root, name, path="net.bin")
    with pytest.raises(KdpipeError, match=r"There is no file .*ghost"):
        taken(root, name, path="ghost")
    assert not (root / "models").exists()


def test_a_network_exported_for_a_fixed_batch_takes_any_number_of_images(root):
    export(root / "net.pt2", batch=2)
    got = taken(root, "exported", path="net.pt2")
    images = torch.rand(5, 3, 8, 8)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))
    torch.testing.assert_close(got(images), body()((images - mean) / std))
    torch.testing.assert_close(got(images[:1]), got(images)[:1])


def test_compiled_networks_say_how_images_are_normalised(root):
    SAVED["torchscript"](root / "net.pt")
    with pytest.raises(KdpipeError, match=r"net\.pt does not say how images are normalised"):
        taken(root, "torchscript", {"published": "own"}, path="net.pt")
    with pytest.raises(KdpipeError, match="has weights of its own: give"):
        taken(root, "torchscript", {**OWN, "published": "V1"}, path="net.pt")


def test_a_torchscript_file_is_no_checkpoint(root):
    SAVED["torchscript"](root / "net.pt")
    weights = {"path": "net.pt", "mean": MEAN, "std": STD}
    with pytest.raises(KdpipeError, match="is a TorchScript file, which is code; name the network"):
        taken(root, "torchscript", weights, path="net.pt")


@pytest.mark.parametrize(
    "network",
    [
        {"name": "torchscript", "path": "x.pt"},
        {"name": "exported", "path": "x.pt2", "trust_code": False},
        {"name": "factory", "call": "os:getcwd"},
    ],
)
def test_code_is_loaded_only_where_the_study_trusts_it(network):
    with pytest.raises(ValueError, match="trust_code: this network is code, which runs when it is"):
        resolve(builders, network)


@pytest.mark.parametrize("call", ["os", "os.system", "a:b.c", "a:b()", "__import__('os'):x", ":x"])
def test_a_factory_is_a_name_and_nothing_else(call):
    with pytest.raises(ValueError, match="should match pattern"):
        resolve(builders, {"name": "factory", "call": call, "trust_code": True})


FACTORY = """
from torch import nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 4, 3, stride=2), nn.Conv2d(4, 5, 3, stride=2)
        self.head = nn.Linear(5, 3)
    def forward(self, x):
        return self.head(self.two(self.one(x).relu_()).relu_().mean((2, 3)))
class Stubborn(Net):
    def forward(self, x):
        if x.shape[-1] > 40:
            raise ValueError("too large")
        return super().forward(x)
def wrapped():
    return nn.DataParallel(Net())
"""


@pytest.fixture
def package(tmp_path, monkeypatch) -> Path:
    (tmp_path / "theirnets.py").write_text(FACTORY)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.mark.parametrize("call", ["Net", "Stubborn", "wrapped"])
def test_layers_of_a_factory_are_found_by_shape(package, call):
    options = {"call": f"theirnets:{call}", "trust_code": True}
    cls = builders.get("factory")
    builder = cls(cls.Options(**options))
    made = builder.body(3)
    layers = builder.layers(made)
    assert (layers.cam, layers.penultimate) == ("two", "head.features")
    named = {"penultimate": "head", "cam": "one", "hint": "one", "cka": ["one", "two"]}
    builder = cls(cls.Options(**options, layers=named))
    assert builder.layers(made).cka == ("one", "two")
    for wrong in ({"cam": "one"}, {**named, "cka": "one"}, {**named, "more": "two"}):
        with pytest.raises(ValueError, match="layers: give penultimate, cam and hint"):
            resolve(builders, {"name": "factory", **options, "layers": wrong})


def study(probes: list[str], **model) -> dict:
    data = {"set": "few", "domains": ["grey"]}
    plain = {"network": "mnist_cnn", "data": data, "weights": {"path": "a.pt", **NORMAL}}
    compiled = {"name": "torchscript", "path": "a.pt", "trust_code": True}
    return {
        "study": "small",
        "data": {"sets": {"few": {"source": "digits", "domains": {"grey": "original"}}}},
        "models": {"t": plain, "s": {"network": compiled, "data": data, "weights": OWN, **model}},
        "probes": dict.fromkeys(("accuracy", "cka", "localization")),
        "pairs": {"one": {"teacher": {"model": "t"}, "given": {"x": "s"}, "probes": probes}},
    }


NORMAL = {"mean": MEAN, "std": STD}


def test_what_looks_at_layers_is_refused_before_anything_runs():
    parse(study(["accuracy"]))
    for probe in ("cka", "localization"):
        match = f"pairs.one.probes: '{probe}' looks at layers, which the model 's' .*'torchscript'"
        with pytest.raises(KdpipeError, match=match):
            parse(study(["accuracy", probe]))


def test_nobody_trains_a_compiled_network():
    with pytest.raises(KdpipeError, match=r"models\.s: weights: nobody can train the network"):
        parse(study(["accuracy"], weights=None))
