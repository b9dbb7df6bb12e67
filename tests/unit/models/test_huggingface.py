"""Folders of transformers as networks, against transformers itself."""

from __future__ import annotations

import json
import sys

import pytest
import torch
from safetensors.torch import load_file

from helpers import hub_folders
from helpers.given_weights import taken, write_images
from kdpipe.base.errors import KdpipeError
from kdpipe.base.plugin import PluginRef, resolve
from kdpipe.models import builders
from kdpipe.models.base import build
from kdpipe.models.shared.form import find_form
from kdpipe.models.weights.find import find, load_into
from kdpipe.models.weights.options import Weights

KINDS = ("vit", "resnet", "deit")
HALF = {"mean": [0.5] * 3, "std": [0.5] * 3}


def ref_of(path) -> PluginRef:
    return resolve(builders, {"name": "huggingface", "path": str(path)})


@pytest.mark.parametrize("kind", KINDS)
def test_answers_and_layers_are_those_of_transformers(kind, tmp_path):
    theirs = hub_folders.network(kind)
    folder = hub_folders.saved(tmp_path / kind, theirs)
    ref = ref_of(folder)
    found = find(Weights(published="own"), ref.make(), None)
    assert (found.mean, found.std) == ([0.5] * 3, [0.5] * 3)
    assert found.classes == list(hub_folders.LABELS)
    pinned = ref.with_options(path="gone", **ref.make().pinned())
    again = resolve(builders, json.loads(json.dumps(pinned.as_json())))
    ours = build(again, 3, found.mean, found.std, 0, hub_folders.SIDE).eval()
    load_into(ours.body, found, {}, "it")
    images = torch.rand(4, 3, 32, 32)
    find_form(ours, 3, images)
    logits, features = ours.with_features(images, ("penultimate", "cam", "hint", "F1"))
    torch.testing.assert_close(logits, theirs((images - 0.5) / 0.5).logits)
    assert features["penultimate"].dim() == 2
    assert all(features[name].shape[-1] > 1 for name in ("cam", "hint", "F1"))


def test_layers_of_a_convolutional_network_are_its_stages(tmp_path):
    ref = ref_of(hub_folders.saved(tmp_path / "resnet", hub_folders.network("resnet")))
    layers = build(ref, 3, [0.5] * 3, [0.5] * 3, 0, 64).layers
    assert layers.stages == tuple(f"resnet.encoder.stages.{k}" for k in range(4))
    assert layers.cam == "resnet.encoder.stages.3"
    assert layers.nhwc == ()


def test_layers_of_a_vision_transformer_are_its_blocks(tmp_path):
    ref = ref_of(hub_folders.saved(tmp_path / "vit", hub_folders.network("vit")))
    network = build(ref, 3, [0.5] * 3, [0.5] * 3, 0, 32)
    assert network.layers.cka[:4] == ("vit.embeddings", *(f"vit.layers.{k}" for k in range(3)))
    assert network.cam == "vit.layers.2.layernorm_before"
    assert network.layers.prefix == 1


def wrapped(state):
    return {
        "as they are": state,
        "DistributedDataParallel": {f"module.{n}": t for n, t in state.items()},
        "torch.compile, half precision": {f"_orig_mod.{n}": t.half() for n, t in state.items()},
        "Lightning": {
            "state_dict": {**{f"model.{n}": t for n, t in state.items()}, "loss.w": torch.ones(2)},
            "epoch": 3,
        },
        "EMA": {"model_ema": state, "args": {"lr": 1}},
    }


@pytest.mark.parametrize("names", ["of memory", "of files"])
@pytest.mark.parametrize("form", wrapped({}))
def test_checkpoints_of_wrapped_networks(names, form, tmp_path):
    """The names of tensors in a file of transformers are not those in memory."""
    theirs = hub_folders.network("vit")
    folder = hub_folders.saved(tmp_path / "vit", theirs)
    state = theirs.state_dict() if names == "of memory" else load_file(folder / "model.safetensors")
    assert ("vit.layers.0.mlp.fc1.weight" in state) == (names == "of memory")
    torch.save(wrapped(state)[form], tmp_path / "net.pt")
    ref = ref_of(folder)
    found = find(Weights(path=str(tmp_path / "net.pt"), **HALF), ref.make(), None)
    ours = build(ref, 3, found.mean, found.std, 5, 32).eval()
    load_into(ours.body, found, {}, "it")
    images = torch.rand(2, 3, 32, 32)
    tolerance = {"atol": 0.01, "rtol": 0.01} if "half" in form else {}
    torch.testing.assert_close(ours.body(images), theirs(images).logits, **tolerance)


def test_weights_in_several_files(tmp_path):
    theirs = hub_folders.network("vit")
    theirs.save_pretrained(tmp_path / "vit", max_shard_size="20KB")
    hub_folders.processor().save_pretrained(tmp_path / "vit")
    assert not (tmp_path / "vit/model.safetensors").exists()
    found = find(Weights(published="own"), ref_of(tmp_path / "vit").make(), None)
    assert set(found.state) == set(theirs.state_dict())


def test_a_size_that_a_network_is_not_built_for(tmp_path):
    vit = ref_of(hub_folders.saved(tmp_path / "vit", hub_folders.network("vit")))
    resnet = ref_of(hub_folders.saved(tmp_path / "resnet", hub_folders.network("resnet")))
    assert build(vit, 3, [0.5] * 3, [0.5] * 3, 0, 48).image_size == 32
    assert build(resnet, 3, [0.5] * 3, [0.5] * 3, 0, 48).image_size is None


def test_a_study_takes_classes_and_normalisation_from_the_folder(tmp_path, kit):
    write_images(kit, tmp_path)
    made = hub_folders.network("resnet", labels=("c", "a", "b"))
    hub_folders.saved(tmp_path / "net", made)
    network = taken(tmp_path, ref_of(tmp_path / "net"), published="own")
    about = json.loads((tmp_path / "models/m/seed0/model.json").read_text())
    assert about["classes"] == ["c", "a", "b"]
    assert about["mean"] == [0.5] * 3
    assert network(torch.rand(2, 3, 32, 32)).shape == (2, 3)


def spoilt(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


def test_what_cannot_be_used_is_said(tmp_path):
    folder = hub_folders.saved(tmp_path / "vit", hub_folders.network("vit"))
    with pytest.raises(KdpipeError, match="has weights of its own: give 'own'"):
        ref_of(folder).make().published("best")
    with pytest.raises(KdpipeError, match=r"There is no .*config\.json"):
        ref_of(tmp_path / "none").make().body(3)
    spoilt(folder, model_type="mine", auto_map={"AutoConfig": "mine.MyConfig"})
    (folder / "mine.py").write_text("raise SystemExit('it ran')")
    with pytest.raises(KdpipeError, match="names code of its author, which kdpipe does not run"):
        ref_of(folder).make().body(3)
    spoilt(folder, model_type="bert")
    with pytest.raises(KdpipeError, match=r"no image classifier of the type 'bert'|cannot be read"):
        ref_of(folder).make().body(3)
    (folder / "config.json").write_text("{")
    with pytest.raises(KdpipeError, match=r"config.json cannot be read"):
        ref_of(folder).make().body(3)


def test_a_backbone_without_its_classifier_does_not_fit(tmp_path):
    theirs = hub_folders.network("vit")
    folder = hub_folders.saved(tmp_path / "vit", theirs)
    theirs.vit.save_pretrained(folder)
    spoilt(folder, id2label=dict(enumerate(hub_folders.LABELS)))
    ref = ref_of(folder)
    found = find(Weights(published="own"), ref.make(), None)
    body = build(ref, 3, found.mean, found.std, 0, 32).body
    with pytest.raises(KdpipeError, match=r"lacks 'classifier.weight', 'classifier.bias'"):
        load_into(body, found, {}, "the network 'vit'")


def test_transformers_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(KdpipeError, match=r"install the extra hf \(pip install 'kdpipe\[hf\]'\)"):
        ref_of(tmp_path).make().body(3)
