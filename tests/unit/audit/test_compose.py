"""The command line of an audit, and the study that it composes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from typer.testing import CliRunner

from kdpipe.audit.compose import Wanted, _model_name, compose, named
from kdpipe.audit.images import Columns, Square, data_set, source
from kdpipe.audit.networks import NORMALISATIONS, Told, class_list, entry, normalisation
from kdpipe.base.errors import KdpipeError
from kdpipe.base.paths import parse_network
from kdpipe.cli import app
from kdpipe.plan.plan import Plan
from kdpipe.probes import probes
from kdpipe.study.schema import load, parse

UNTOLD, TRUSTED = Told(), Told(trust_code=True, normalise="half")


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """A working folder with a checkpoint, of no network, and six images of two classes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("kdpipe.audit.compose.check_alone", lambda *_: None)
    torch.save({"state_dict": {"w": torch.ones(1)}}, "net.pt")
    for k in range(6):
        place = tmp_path / "images" / ("cat", "dog")[k % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((16, 16, 3), 40 * k, np.uint8)).save(place / f"{k}.png")
    return tmp_path


def refused(match: str, spec: str, told: Told = UNTOLD) -> None:
    with pytest.raises(KdpipeError, match=match) as caught:
        entry("teacher", spec, told)
    assert "\n" not in str(caught.value)


# Networks


def test_an_architecture_and_a_checkpoint(here):
    made = entry("teacher", "torchvision/resnet18,antialias=true@net.pt", Told("cifar10", 32))
    assert made.network == {"name": "torchvision", "arch": "resnet18", "antialias": True}
    mean, std = NORMALISATIONS["cifar10"]
    weights = {"path": str(here / "net.pt"), "mean": mean, "std": std, "size": 32}
    assert made.weights == weights


def test_an_architecture_without_a_slash_and_published_weights(here):
    made = entry("teacher", "wrn,depth=16,width=2@IMAGENET1K_V1", Told(ema=True))
    assert made.network == {"name": "wrn", "depth": 16, "width": 2}
    assert made.weights == {"published": "IMAGENET1K_V1", "ema": True}


def test_a_factory_takes_its_arguments(here):
    made = entry("teacher", "my.nets:small,width=12,norm=bn@net.pt", TRUSTED)
    assert made.network == {
        "name": "factory",
        "call": "my.nets:small",
        "arguments": {"width": 12, "norm": "bn"},
        "trust_code": True,
    }


def test_a_torchscript_file_is_known_by_what_is_in_it(here):
    torch.jit.trace(nn.Flatten(), torch.rand(1, 3, 4, 4)).save("whole.pt")
    made = entry("teacher", "whole.pt", TRUSTED)
    path = str(here / "whole.pt")
    assert made.network == {"name": "torchscript", "path": path, "trust_code": True}
    assert made.weights["published"] == "own"


def test_a_folder_of_kdpipe_says_everything_itself(here):
    (here / "seed0").mkdir()
    about = {
        "network": {"name": "cifar_resnet", "options": {"arch": "resnet20"}},
        "classes": ["b", "a"],
        "input": {"size": 28},
    }
    (here / "seed0" / "model.json").write_text(json.dumps(about))
    save_file({"w": torch.ones(1)}, here / "seed0" / "model.safetensors")
    made = entry("student", "seed0", Told())
    assert made.network == {"name": "cifar_resnet", "arch": "resnet20"}
    path = str(here / "seed0" / "model.safetensors")
    assert made.weights == {"path": path, "classes": ["b", "a"], "size": 28}


@pytest.mark.parametrize("spec", ["my.nets:small@net.pt", "whole.pt", "whole.pt2"])
def test_code_needs_the_flag(here, spec):
    torch.jit.trace(nn.Flatten(), torch.rand(1, 3, 4, 4)).save("whole.pt")
    (here / "whole.pt2").write_bytes(b"")
    refused(r"--teacher is .*, which is code .* add --trust-code", spec)


def test_networks_are_what_their_options_allow(here):
    refused("no model called 'ghost'; known are: cifar_", "ghost@net.pt")
    refused("there is no option 'depth'", "mnist_cnn,depth=3@net.pt")
    refused("should match pattern", "my.nets:small()@net.pt", TRUSTED)


def test_unknown_forms_are_answered_with_the_known(here):
    refused("there is no such file or folder; give a folder of .* NETWORK@CHECKPOINT", "ghost.pt")
    refused("no checkpoint ghost.pt", "wrn@ghost.pt")
    refused("holds weights and no network; say .* NETWORK@net.pt", "net.pt")
    refused("'depth' is no option of a network; write key=value", "wrn,depth@net.pt")
    refused("has neither a model.json of kdpipe nor a config.json", "images")
    (here / "images" / "model.json").write_text("[]")
    refused("its model.json is not one of kdpipe", "images")


@pytest.mark.parametrize(
    ("text", "mean", "std"),
    [
        ("0.5/0.2", [0.5] * 3, [0.2] * 3),
        ("0.1,0.2,0.3/0.4,0.5,0.6", [0.1, 0.2, 0.3], [0.4, 0.5, 0.6]),
        ("none", [0.0] * 3, [1.0] * 3),
    ],
)
def test_normalisation_by_name_or_numbers(text, mean, std):
    assert normalisation(text) == (mean, std)


@pytest.mark.parametrize("text", ["cifar", "0.5", "1,2/3", "a/b", "1/2/3", ""])
def test_no_normalisation_is_refused(text):
    with pytest.raises(KdpipeError, match="is no normalisation; give one of imagenet, cifar10"):
        normalisation(text)


def test_classes_from_a_file_or_with_commas(tmp_path):
    (tmp_path / "names.txt").write_text("sea lion\n\ndog\n")
    assert class_list(str(tmp_path / "names.txt")) == ["sea lion", "dog"]
    assert class_list("dog, cat") == ["dog", "cat"]
    assert class_list("imagenet") == "imagenet"
    with pytest.raises(KdpipeError, match="'dog' is no list of classes"):
        class_list("dog")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    with pytest.raises(KdpipeError, match="cannot be read as a list of classes"):
        class_list(str(tmp_path / "bytes"))


# Images


def test_a_folder_of_images_is_known_by_what_is_in_it(here):
    assert source(here / "images", Columns())["name"] == "image_folder"
    (here / "sets" / "data").mkdir(parents=True)
    (here / "sets" / "data" / "test-0.parquet").write_bytes(b"")
    assert source(here / "sets", Columns(label="fine"))["label"] == "fine"
    single = source(here / "sets" / "data" / "test-0.parquet", Columns())
    assert single["files"] == {"test": "test-0.parquet"}
    with pytest.raises(KdpipeError, match="there is no such folder or Parquet file"):
        source(here / "ghost", Columns())
    with pytest.raises(KdpipeError, match="a folder of images, which has no columns"):
        source(here / "images", Columns(group="race"))


def test_images_are_as_large_as_networks_want_and_no_larger_than_they_are(here):
    folder = here / "images"
    assert data_set(folder, "d", Columns(), Square(), [])["size"] == 16
    assert data_set(folder, "d", Columns(), Square(), [224, 8])["size"] == 16
    assert data_set(folder, "d", Columns(), Square(), [12, 8])["size"] == 12
    assert data_set(folder, "d", Columns(), Square(30), [12, 8])["size"] == 30
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(folder / "cat" / "wide.png")
    assert data_set(folder, "d", Columns(), Square(), [18])["size"] == 16
    with pytest.raises(KdpipeError, match="no squares of one size; say with --size"):
        data_set(folder, "d", Columns(), Square(), [])


# The study


def wanted(here: Path, **more) -> Wanted:
    told = dict.fromkeys(("teacher", "student", "baseline"), TRUSTED)
    net = "mnist_cnn@net.pt"
    base = {"teacher": net, "students": [net], "baselines": [net], "data": here / "images"}
    return Wanted(**{**base, "told": told, **more})


def test_an_audit_is_an_ordinary_study(here):
    raw, left_out = compose(wanted(here))
    study = parse(yaml.safe_load(yaml.safe_dump(raw)))
    pair = study.pairs["audit"]
    assert pair.given == {"distilled": ["student_distilled"]}
    assert pair.baselines == ["baseline"]
    assert set(study.probes) | set(left_out) == set(probes.names())
    assert study.probes["shift"].options.distinct
    assert study.probes["boundary"].options.resolution == 20
    assert set(left_out) == {
        "backdoor",
        "consensus",
        "fairness",
        "group_accuracy",
        "memory",
        "ood",
        "shape_bias",
        "weights",
        "withheld",
    }
    assert left_out["backdoor"] == "it needs images with a trigger, and its target (a study file)"
    plan = Plan(study)
    assert not plan.by_stage("distil")
    assert all(job.settings.weights for job in plan.by_stage("train"))


def test_methods_and_several_checkpoints_of_one(here):
    nets = [f"mnist_cnn@net{k}.pt" for k in range(3)]
    for k in range(3):
        torch.save({"w": torch.ones(1)}, f"net{k}.pt")
    students = [f"kl={nets[0]}", f"crd={nets[1]}", f"kl={nets[2]}"]
    raw, _ = compose(wanted(here, students=students, baselines=nets))
    with pytest.raises(KdpipeError, match=r"--baseline mnist_cnn@net0\.pt is given twice"):
        compose(wanted(here, baselines=[nets[0], *nets]))
    pair = raw["pairs"]["audit"]
    assert pair["given"] == {"kl": ["student_kl", "student_kl2"], "crd": ["student_crd"]}
    assert pair["baselines"] == ["baseline", "baseline2", "baseline3"]
    (tables,) = Plan(parse(raw)).jobs["tables"].settings.pairs
    assert tables.ind_seeds == [0, 1, 2]
    assert tables.methods == {"kl": [0, 1], "crd": [0]}


def test_properties_are_chosen_and_left_out(here):
    raw, _ = compose(wanted(here, probes=["fidelity", "accuracy"], limit=7))
    assert raw["probes"] == {"fidelity": {"limit": 7}, "accuracy": {"limit": 7}}
    raw, _ = compose(wanted(here, without=["boundary"]))
    assert "boundary" not in raw["probes"]
    raw, left_out = compose(wanted(here, unseen=here / "images"))
    assert raw["probes"]["consensus"]["set"] == "unseen"
    assert "consensus" not in left_out
    with pytest.raises(KdpipeError, match="no probe called 'ghost'; known are: accuracy"):
        compose(wanted(here, probes=["ghost"]))
    with pytest.raises(KdpipeError, match="no property left"):
        compose(wanted(here, without=probes.names()))


def test_what_looks_at_layers_is_left_out_beside_a_sealed_network(here):
    torch.jit.trace(nn.Flatten(), torch.rand(1, 3, 4, 4)).save("whole.pt")
    raw, left_out = compose(wanted(here, students=["whole.pt"]))
    assert not {"cka", "localization"} & set(raw["probes"])
    assert "layers, and those of student_distilled cannot" in left_out["cka"]
    with pytest.raises(KdpipeError, match="--probes cka looks at the layers"):
        compose(wanted(here, students=["whole.pt"], probes=["cka"]))


def test_layers_that_cannot_be_told_are_left_out_as_well(here, monkeypatch):
    (here / "oddnets.py").write_text(
        "from torch import nn\ndef flat(): return nn.Sequential(nn.Flatten(), nn.Linear(768, 2))\n"
    )
    monkeypatch.syspath_prepend(here)
    raw, left_out = compose(wanted(here, teacher="oddnets:flat@net.pt"))
    assert raw["models"]["teacher"]["network"]["image_size"] == 16
    assert not {"cka", "localization"} & set(raw["probes"])
    assert "those of teacher cannot be seen" in left_out["localization"]


def test_roles_are_told_apart(here):
    told = {
        "teacher": Told("imagenet", 24, "dog,cat"),
        "student": Told("half", 12),
        "baseline": Told("none"),
    }
    raw, _ = compose(wanted(here, told=told, class_map={"cat": ["kitten"]}))
    weights = {name: model["weights"] for name, model in raw["models"].items()}
    assert weights["teacher"]["classes"] == ["dog", "cat"]
    assert weights["teacher"]["mean"] == NORMALISATIONS["imagenet"][0]
    assert (weights["teacher"]["size"], weights["student_distilled"]["size"]) == (24, 12)
    assert "size" not in weights["baseline"]
    data = raw["data"]["sets"]["images"]
    assert data["size"] == 16  # of the images, which are smaller than the teacher's
    assert data["class_map"] == {"name": "listed", "classes": {"cat": ["kitten"]}}


@pytest.mark.parametrize("name", ["../out", "a/b", "", ".", "a\n", "x" * 61])
def test_the_folder_of_results_cannot_be_left(here, name):
    raw, _ = compose(wanted(here, name=name))
    with pytest.raises(KdpipeError, match="study"):
        parse(raw, "The audit")


def test_the_study_file_is_what_would_run(here):
    args = ["audit", "--teacher", "mnist_cnn@net.pt", "--student", "mnist_cnn@net.pt", "--data"]
    args += ["images", "--normalise", "half", "--study-file", "audit.yaml"]
    done = CliRunner().invoke(app, args)
    assert done.exit_code == 0, done.output
    study = load(here / "audit.yaml")
    assert study.pairs["audit"].baselines == []
    assert not (here / "results").exists()


def test_a_class_map_is_lists_of_names(here):
    (here / "map.yaml").write_text("car: taxi\n")
    args = ["audit", "--teacher", "a@b", "--student", "a@b", "--data", "images"]
    done = CliRunner().invoke(app, [*args, "--class-map", "map.yaml"])
    assert isinstance(done.exception, KdpipeError)
    assert re.search("map.yaml: a class map has lines such as", str(done.exception))


def test_weights_that_need_no_flag_are_read_without_running_anything(here):
    save_file({"w": torch.ones(1)}, "net.safetensors")
    made = entry("teacher", "wrn@net.safetensors", Told())
    assert made.weights["path"].endswith("net.safetensors")


@pytest.mark.parametrize(
    ("words", "method", "spec"),
    [
        ("kl=torchvision/resnet18@x.pth", "kl", "torchvision/resnet18@x.pth"),
        ("KL (τ 4)+Hint = my.nets:small@x.pth", "KL (τ 4)+Hint", "my.nets:small@x.pth"),
        ("my.nets:small,width=12@x.pth", "distilled", "my.nets:small,width=12@x.pth"),
        ("runs/kl=4/best.pt", "distilled", "runs/kl=4/best.pt"),
        ("resnet18@lr=1.pth", "distilled", "resnet18@lr=1.pth"),
    ],
)
def test_an_audit_takes_any_name_of_a_method(words, method, spec):
    assert named(words) == (method, spec)
    assert parse_network(f"models/{_model_name(method, 1, [])}/seed0")


def test_methods_that_sound_alike_are_two_models():
    assert _model_name("kl", 1, []) == "student_kl"
    assert _model_name("kl", 2, ["student_kl"]) == "student_kl2"
    assert _model_name("a+b", 1, ["student_a_b"]) == "student_a_b_2"
