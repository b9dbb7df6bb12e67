"""Models from third-party weights: files, names, shapes, classes, normalisation."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
import yaml
from pyarrow.parquet import read_table
from pydantic import ValidationError
from safetensors.torch import save_file
from torch import nn

from helpers.places import DOCS
from kdpipe.base.errors import KdpipeError, PassingError
from kdpipe.base.paths import ModelRef
from kdpipe.base.plugin import PluginRef
from kdpipe.base.provenance import file_digest
from kdpipe.data.selection import Selection
from kdpipe.models import builders
from kdpipe.models.base import Network, build
from kdpipe.models.weights.find import _renamed
from kdpipe.models.weights.options import Weights
from kdpipe.plan.plan import Plan
from kdpipe.stages import train
from kdpipe.stages.base import Call
from kdpipe.study.schema import parse
from kdpipe.training.artefact import load
from kdpipe.training.compute import Compute
from kdpipe.training.recipe import Recipe

REF = PluginRef(name="mlp", options={"hidden": [6]})
MEAN, STD = [0.4, 0.5, 0.6], [0.2, 0.25, 0.3]
NORMAL = {"mean": MEAN, "std": STD}


def network(n_classes: int = 3) -> Network:
    return build(REF, n_classes, MEAN, STD, seed=5).eval()


def bare(n_classes: int = 3) -> dict[str, torch.Tensor]:
    return network(n_classes).body.state_dict()


@pytest.fixture
def root(kit, tmp_path) -> Path:
    """Six numbered images; the last three are for validation."""
    kit.write_subset(
        tmp_path / "subset" / "set",
        kit.numbered(6),
        [0, 1, 2] * 2,
        ["a", "b", "c"],
        split=["train"] * 3 + ["val"] * 3,
    )
    return tmp_path


def taken(root: Path, ref: PluginRef = REF, seed: int = 0, **weights) -> Network:
    """The network that the stage makes of the weights."""
    slice_ = train.TrainSlice(
        ref=ModelRef(model="m", seed=seed),
        network=ref,
        data=Selection(set="set", domains=["grey"]),
        augment=[],
        recipe=Recipe(),
        compute=Compute(),
        weights=Weights(**weights),
    )
    again = train.TrainSlice.model_validate_json(slice_.model_dump_json())
    train.run(again, Call(root, root / again.ref.path, data_root=root))
    return load(root / again.ref.path)


def refused(root: Path, match: str, **weights) -> None:
    """One sentence, and nothing written."""
    with pytest.raises(KdpipeError, match=match) as caught:
        taken(root, **weights)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")
    assert not (root / "models").exists()


def assert_same_answers(one: Network, other: Network) -> None:
    images = torch.rand(4, 3, 8, 8)
    assert torch.equal(one(images), other(images))


FILES = {
    "safetensors": lambda state, path: save_file(state, path.with_suffix(".safetensors")),
    "torch": lambda state, path: torch.save(state, path.with_suffix(".pt")),
    "checkpoint": lambda state, path: torch.save(
        {"epoch": 3, "state_dict": state, "optimizer": {"lr": 0.1}}, path.with_suffix(".pt")
    ),
    "nested": lambda state, path: torch.save(
        {"model": {"state_dict": state}}, path.with_suffix(".pt")
    ),
    "parallel": lambda state, path: torch.save(
        {"model": {f"module.{k}": v for k, v in state.items()}}, path.with_suffix(".pt")
    ),
    "compiled": lambda state, path: torch.save(
        {f"module._orig_mod.{k}": v for k, v in state.items()}, path.with_suffix(".pt")
    ),
}


@pytest.mark.parametrize("kind", FILES)
def test_network_is_that_of_the_file(root, kind):
    FILES[kind](bare(), root / "weights")
    name = "weights.safetensors" if kind == "safetensors" else "weights.pt"
    got = taken(root, path=name, sha256=file_digest(root / name), **NORMAL)
    assert_same_answers(got, network())
    assert got.mean.flatten().tolist() == pytest.approx(MEAN)


def test_what_is_written_says_where_the_weights_are_from(root):
    save_file(bare(), root / "w.safetensors")
    net = taken(root, path="w.safetensors", **NORMAL)
    folder = root / "models/m/seed0"
    about = json.loads((folder / "model.json").read_text())
    assert about["weights"] == "w.safetensors"
    assert about["provenance"]["inputs"]["weights"] == file_digest(root / "w.safetensors")
    assert about["classes"] == ["a", "b", "c"]
    assert about["network"] == REF.model_dump()
    # Its history is the validation.
    (row,) = read_table(folder / "history.parquet").to_pylist()
    pixels = np.load(root / "subset/set/pixels.npy")[3:]
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    right = net(images).argmax(1) == torch.tensor([0, 1, 2])
    assert row["epoch"] == 0
    assert row["val_accuracy"] == pytest.approx(float(right.float().mean()))


def test_no_validation_without_images_of_its_classes(root, kit):
    save_file(bare(5), root / "w.safetensors")
    taken(root, path="w.safetensors", classes=list("bcdef"), **NORMAL)
    about = json.loads((root / "models/m/seed0/model.json").read_text())
    assert about["classes"] == list("bcdef")
    history = read_table(root / "models/m/seed0/history.parquet").to_pylist()
    assert history == [{"epoch": 0}]
    # Of more classes than the images have, the others are left out.
    taken(root, path="w.safetensors", classes=list("edcba"), **NORMAL)
    (row,) = read_table(root / "models/m/seed0/history.parquet").to_pylist()
    images = torch.from_numpy(np.load(root / "subset/set/pixels.npy")[3:]).permute(0, 3, 1, 2)
    answers = network(5)(images.float() / 255)[:, 2:].flip(1).argmax(1)
    right = answers == torch.tensor([0, 1, 2])
    assert row["val_accuracy"] == pytest.approx(float(right.float().mean()))


def test_network_of_another_study_knows_its_normalisation(root):
    save_file(network().state_dict(), root / "model.safetensors")
    got = taken(root, path="model.safetensors")
    assert_same_answers(got, network())
    assert torch.equal(got.std, network().std)


def test_names_are_mapped_by_regular_expressions_in_turn(root):
    old = {"conv1": "feature.first", "fc2": "classifier"}
    state = {f"{old[k.partition('.')[0]]}.{k.partition('.')[2]}": v for k, v in bare().items()}
    torch.save({**state, "aux.weight": torch.ones(3)}, root / "w.pth")
    key_map = {r"^feature\.": "", "^first": "conv1", "^classifier": "fc2", "^aux": None}
    got = taken(root, path="w.pth", key_map=key_map, **NORMAL)
    assert_same_answers(got, network())


def test_two_tensors_of_one_name_are_refused(root):
    save_file(bare(), root / "w.safetensors")
    refused(
        root,
        "key_map gives two tensors the name 'same'",
        path="w.safetensors",
        key_map={"^.*$": "same"},
        **NORMAL,
    )


def test_counter_of_batches_may_be_missing_from_old_files(root):
    ref = PluginRef(name="cifar_resnet", options={"arch": "resnet20"})
    net = build(ref, 3, MEAN, STD, seed=2).eval()
    state = {k: v for k, v in net.body.state_dict().items() if "num_batches" not in k}
    save_file({k: v.contiguous() for k, v in state.items()}, root / "w.safetensors")
    got = taken(root, ref, path="w.safetensors", **NORMAL)
    images = torch.rand(2, 3, 16, 16)
    assert torch.equal(got(images), net(images))


def test_seeds_have_weights_of_their_own(root):
    for seed in (3, 4):
        save_file(build(REF, 3, MEAN, STD, seed).body.state_dict(), root / f"w{seed}.safetensors")
    digests = {s: file_digest(root / f"w{s}.safetensors") for s in (3, 4)}
    place = {"path": "w{seed}.safetensors", "sha256": digests, **NORMAL}
    first, second = taken(root, seed=3, **place), taken(root, seed=4, **place)
    assert_same_answers(first, build(REF, 3, MEAN, STD, 3))
    assert_same_answers(second, build(REF, 3, MEAN, STD, 4))


# What does not fit


def test_other_number_of_classes_is_refused_with_both_shapes(root):
    save_file(bare(7), root / "w.safetensors")
    match = (
        r"w\.safetensors: 'fc2\.bias' has the shape \(7,\), "
        r"but in the network 'mlp' of 3 classes .* \(3,\)"
    )
    refused(root, match, path="w.safetensors", **NORMAL)


def test_other_names_are_refused_with_some_of_them(root):
    save_file(
        {"a": torch.ones(1), **{f"b{k}": torch.ones(1) for k in range(9)}}, root / "w.safetensors"
    )
    match = r"lacks 'conv1.weight', .* and 1 more and has 'a', 'b0', 'b1' and 7 more, .*key_map"
    refused(root, match, path="w.safetensors", **NORMAL)


def test_digest_of_another_file_is_refused(root):
    save_file(bare(), root / "w.safetensors")
    refused(
        root, r"its SHA-256 is .*sha256 is 0{64}", path="w.safetensors", sha256="0" * 64, **NORMAL
    )


def test_missing_file_is_named(root):
    refused(
        root, f"There are no weights {root}/ghost.pt; .* data folder", path="ghost.pt", **NORMAL
    )


def test_unknown_normalisation_is_asked_for(root):
    save_file(bare(), root / "w.safetensors")
    refused(
        root, r"does not say how images are normalised; give weights.mean", path="w.safetensors"
    )


def test_code_in_a_file_is_not_run(root):
    torch.save({"model": network().body.state_dict(), "f": exec}, root / "w.pt")
    refused(root, r"w\.pt cannot be read without running code from it", path="w.pt", **NORMAL)


@pytest.mark.parametrize(
    ("name", "content"), [("w.pt", b"no zip"), ("w.safetensors", b"\0" * 20), ("w.pth", b"")]
)
def test_damaged_file_is_named(root, name, content):
    (root / name).write_bytes(content)
    refused(root, f"{name} cannot be read", path=name, **NORMAL)


@pytest.mark.parametrize("content", [[1, 2], {}, {"state_dict": {}}, {"a": 3.0}])
def test_file_without_a_state_dict_is_refused(root, content):
    torch.save(content, root / "w.pt")
    refused(root, "holds no state dict of a network", path="w.pt", **NORMAL)


# From the network


def test_url_is_downloaded_once_into_the_cache_of_torch(root, monkeypatch):
    (root / "far").mkdir()
    save_file(bare(), root / "far" / "w.safetensors")
    digest = file_digest(root / "far" / "w.safetensors")
    monkeypatch.setenv("TORCH_HOME", str(root / "cache"))
    url = (root / "far" / "w.safetensors").as_uri()
    assert_same_answers(taken(root, url=url, sha256=digest, **NORMAL), network())
    (root / "far" / "w.safetensors").unlink()
    assert_same_answers(taken(root, url=url, sha256=digest, **NORMAL), network())
    (kept,) = (root / "cache/hub/checkpoints").iterdir()
    assert kept.name == f"{digest[:16]}-w.safetensors"


def test_url_that_cannot_be_had_is_a_passing_failure(root, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(root / "cache"))
    (root / "other").write_bytes(b"other")
    for name in ("ghost", "other"):
        url = (root / name).as_uri()
        with pytest.raises(PassingError, match=f"{url} cannot be had"):
            taken(root, url=url, sha256="0" * 64, **NORMAL)
    assert not list((root / "cache/hub/checkpoints").iterdir())


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
    ref = PluginRef(name="torchvision", options={"arch": TINY})
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
            root, PluginRef(name="torchvision", options={"arch": TINY}), published="IMAGENET1K_V1"
        )


def test_classes_of_imagenet_by_name_beside_another_task(root, kit, patched):
    imagenet(kit, root, list("abcd"))
    taken(
        root,
        PluginRef(name="torchvision", options={"arch": TINY}),
        published="IMAGENET1K_V1",
        classes="imagenet",
    )
    classes = json.loads((root / "models/m/seed0/model.json").read_text())["classes"]
    assert (len(classes), classes[0], classes[-1]) == (1000, "tench", "toilet tissue")


def test_published_weights_on_fewer_classes_are_refused(root, patched):
    ref = PluginRef(name="torchvision", options={"arch": TINY})
    with pytest.raises(KdpipeError, match=r"'classifier.1.bias' has the shape \(1000,\)"):
        taken(root, ref, published="IMAGENET1K_V1", size=64)


def test_unknown_published_weights_are_answered_with_the_known(root):
    ref = PluginRef(name="torchvision", options={"arch": "resnet50"})
    with pytest.raises(KdpipeError, match=r"no weights 'V7' .* has IMAGENET1K_V1, IMAGENET1K_V2"):
        taken(root, ref, published="V7")
    with pytest.raises(KdpipeError, match="none published as 'V7' for the network 'mlp'"):
        taken(root, published="V7")


def test_published_weights_that_cannot_be_had_are_a_passing_failure(root, monkeypatch):
    def unreachable(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", unreachable)
    ref = PluginRef(name="torchvision", options={"arch": TINY})
    with pytest.raises(PassingError, match=r"cannot get IMAGENET1K_V1 .* \(no network\)"):
        taken(root, ref, published="IMAGENET1K_V1")


def test_published_weights_of_another_image_size_are_refused(root):
    ref = PluginRef(name="torchvision", options={"arch": "vit_b_32", "image_size": 64})
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


# In a study


def study(**model) -> dict:
    return {
        "study": "small",
        "data": {"sets": {"few": {"source": "digits", "domains": {"grey": "original"}}}},
        "compute": {"device": "cpu", "precision": "fp32"},
        "models": {
            "big": {"network": "mnist_cnn", "data": {"set": "few", "domains": ["grey"]}, **model},
            "small": {"network": "mnist_cnn", "data": {"set": "few", "domains": ["grey"]}},
        },
        "probes": {"accuracy": None},
        "pairs": {
            "one": {
                "teacher": {"model": "big"},
                "student": "small",
                "methods": {"kl": None},
                "probes": ["accuracy"],
            }
        },
    }


def job(raw: dict, target: str = "models/big/seed0"):
    return Plan(parse(raw)).jobs[target]


def test_recipe_and_augmentation_are_no_part_of_a_network_that_is_not_trained():
    path = {"weights": {"path": "w.pt", **NORMAL}}
    plain = job(study(**path))
    other = job(study(**path, training={"epochs": 99}, augment=["flip"]))
    assert plain.slice_json == other.slice_json
    assert plain.code == other.code
    assert plain.slice_json != job(study(weights={"path": "v.pt", **NORMAL})).slice_json


@pytest.mark.parametrize("none", ["none", "None", None])
def test_none_is_a_network_that_is_trained(none):
    assert job(study(weights=none)).slice_json == job(study()).slice_json


def test_word_is_the_name_of_published_weights():
    slice_ = job(study(network="torchvision/resnet18", weights="IMAGENET1K_V1")).slice
    assert slice_.weights.published == "IMAGENET1K_V1"
    assert slice_.network == PluginRef(
        name="torchvision",
        options={"arch": "resnet18", "antialias": False, "image_size": None},
    )


BAD = {
    "two places": ({"path": "a", "url": "b", "sha256": "0" * 64}, "one of published, path and url"),
    "no place": ({"mean": MEAN, "std": STD}, "one of published, path and url"),
    "url without digest": ({"url": "https://x/y.pt"}, "sha256: a url needs it"),
    "digest that is none": ({"path": "a", "sha256": "12"}, "sha256"),
    "mean alone": ({"path": "a", "mean": MEAN}, "mean and std go together"),
    "no deviation": ({"path": "a", "mean": MEAN, "std": [0, 1, 1]}, "std: has to be above 0"),
    "pattern": ({"path": "a", "key_map": {"(": ""}}, r"key_map: '\(' is no regular expression"),
    "digests by seed": ({"path": "a", "sha256": {0: "0" * 64}}, r"only where the path .* \{seed\}"),
}


@pytest.mark.parametrize("case", BAD)
def test_weights_that_make_no_sense_are_refused(case):
    raw, match = BAD[case]
    with pytest.raises(ValidationError, match=match):
        Weights(**raw)
    with pytest.raises(KdpipeError, match=r"models\.big\.weights"):
        parse(study(weights=raw))


def test_one_file_is_one_network():
    with pytest.raises(KdpipeError, match=r"models\.big: seeds: the same weights are one network"):
        parse(study(weights={"path": "w.pt"}, seeds=[0, 1]))
    both = {"path": "w{seed}.pt", "sha256": {0: "0" * 64, 1: "1" * 64}}
    facts = Plan(parse(study(weights=both, seeds=[0, 1]))).jobs["report.html"].slice.summary
    assert (facts["networks from weights"], facts["networks trained"]) == (2, 2)
    with pytest.raises(KdpipeError, match=r"weights\.sha256: there is none for seed 2"):
        parse(study(weights=both, seeds=[0, 2]))


def test_seed_without_weights_is_refused():
    raw = study(weights={"path": "w.pt"})
    raw["pairs"]["one"]["teacher"]["seed"] = 4
    with pytest.raises(KdpipeError, match=r"pairs\.one\.teacher\.seed: 'big' comes from weights"):
        parse(raw)
    raw["pairs"]["one"]["teacher"]["seed"] = 0
    raw["probes"] = {"adversarial": {"foreign": {"model": "small", "seed": 2}}}
    raw["pairs"]["one"]["probes"] = ["adversarial"]
    raw["models"]["small"]["weights"] = {"path": "w.pt"}
    with pytest.raises(KdpipeError, match=r"probes\.adversarial\.foreign\.seed: 'small' comes"):
        parse(raw)


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
