"""``kdpipe check`` finds what cannot run before any training."""

from __future__ import annotations

import copy
import sys

import pytest
import torch
import yaml
from PIL import Image
from typer.testing import CliRunner

from kdpipe import cli
from kdpipe.base.errors import KdpipeError
from kdpipe.base.plugin import resolve
from kdpipe.models import builders
from kdpipe.models.base import build
from kdpipe.plan.check_networks import PASSED, Networks, before_run, check_networks
from kdpipe.plan.plan import Plan
from kdpipe.study.schema import parse

STUDY = {
    "study": "s",
    "data": {"sets": {"d": {"source": "digits", "size": 16, "domains": {"grey": "original"}}}},
    "compute": {"device": "cpu", "precision": "fp32"},
    "models": {
        "teacher": {"network": "mnist_cnn", "data": {"set": "d", "domains": ["grey"]}},
        "student": {"network": "cifar_vgg/vgg8", "data": {"set": "d", "domains": ["grey"]}},
    },
    "probes": {"accuracy": {}, "localization": {}, "cka": {}},
    "pairs": {
        "p": {
            "teacher": {"model": "teacher"},
            "student": "student",
            "methods": {"kl": {}, "hint": {}, "crd": {}},
            "probes": ["accuracy", "localization", "cka"],
        }
    },
}


def study(**changes: object) -> dict:
    """``where__key=value`` under the keys that the double underscores part."""
    raw = copy.deepcopy(STUDY)
    for path, value in changes.items():
        *outer, last = path.split("__")
        place = raw
        for key in outer:
            place = place[key]
        place[last] = value
    return raw


def said(raw: dict) -> list[str]:
    return check_networks(Plan(parse(raw)), None)


@pytest.mark.parametrize(
    ("classes", "count"),
    [("data", 10), ("numbers", 10), ("text", 10), ("imagenet", 1000), (["a", "b", "c"], 3)],
)
def test_a_network_has_an_output_for_each_of_its_classes(classes, count) -> None:
    weights = {"path": "w.pt", "mean": [0.5] * 3, "std": [0.5] * 3, "classes": classes}
    plan = Plan(parse(study(models__teacher__weights=weights)))
    assert Networks(plan, None).outline("teacher").body.fc2.out_features == count


def test_a_study_that_can_run() -> None:
    assert said(study()) == []


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"models__student__network": "torchvision/resnet19"},
            "models.student.network: torchvision has no model 'resnet19'",
        ),
        (
            {"models__teacher__network": "torchvision/vgg11"},
            "models.teacher.network: torchvision/vgg11 cannot take images of 16×16 pixels",
        ),
        (
            {"models__teacher__network": "torchvision/vit_b_32"},
            "models.teacher.network: torchvision/vit_b_32: The network takes images of 224×224",
        ),
        (
            {"pairs__p__methods": {"hint": {"layer": "block9"}}},
            r"pairs.p.methods.hint on models.student \(cifar_vgg/vgg8\): "
            "The network has no layer 'block9'; its layers are block1.0",
        ),
        (
            {"pairs__p__methods": {"hint": {"teacher_layer": "conv9"}}},
            "pairs.p.methods.hint on models.teacher .* has no layer 'conv9'",
        ),
        (
            {"pairs__p__methods": {"hint": {"layer": "penultimate"}}},
            "pairs.p.methods.hint: hint: the student's layer has shape",
        ),
        (
            {
                "models__teacher__network": {"name": "mlp", "hidden": []},
                "pairs__p__methods": {"srrl": {}},
            },
            "pairs.p.methods.srrl: the teacher models.teacher has no linear layer that reads",
        ),
        (
            {"pairs__p__methods": {"simkd": {}}},
            "pairs.p.methods.simkd: the teacher models.teacher has no linear layer that reads the "
            "64 numbers of its layer 'cam'; set teacher_layer",
        ),
        (
            {"probes__cka": {"teacher_layers": ["relu1", "relu7"]}},
            "probes.cka on models.teacher .* has no layer 'relu7'",
        ),
        (
            {"probes__localization": {"layer": "flatten"}},
            r"probes.localization on models.student \(cifar_vgg/vgg8\): its layer 'flatten' has no "
            "feature maps of more than one place at 16×16 pixels, but 512 values an image",
        ),
    ],
)
def test_what_cannot_run_is_one_sentence(changes: dict, sentence: str) -> None:
    (found,) = said(study(**changes))
    import re

    assert re.match(sentence, found), found
    assert "\n" not in found


def test_package_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    (found,) = said(study(models__student__network="timm/resnet18"))
    assert "models.student.network: The network timm/resnet18 needs the package timm" in found


NETS = """
from torch import nn

def one_channel():
    return nn.Sequential(nn.Conv2d(1, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 2, 1),
                         nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10))

def wide():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 30 * 30, 10))
"""


def test_third_party_networks(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nets_of_a_check.py").write_text(NETS)
    monkeypatch.syspath_prepend(str(tmp_path))
    call = {"name": "factory", "trust_code": True, "call": "nets_of_a_check:one_channel"}
    assert said(study(models__student__network=call)) == []
    (found,) = said(study(models__student__network={**call, "call": "nets_of_a_check:wide"}))
    assert found.startswith("models.student.network: Sequential cannot take images of 16×16 pixels")


def command(tmp_path, raw: dict, *words: str) -> tuple[int, str]:
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(raw))
    done = CliRunner().invoke(cli.app, ["check", str(path), *words])
    assert done.exception is None or isinstance(done.exception, KdpipeError | SystemExit)
    return done.exit_code, str(done.exception or done.output)


def test_gpu_where_there_is_none(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kdpipe.plan.check_networks.has_gpu", lambda: False)
    raw = study(compute__device="cuda")
    status, text = command(tmp_path, raw, "--no-data")
    assert status
    assert text.startswith("compute.device: the study asks for a GPU, and this machine has none")
    assert command(tmp_path, raw, "--no-data", "--elsewhere")[0] == 0
    raw["compute"]["cpu_fallback"] = True
    assert command(tmp_path, raw, "--no-data")[0] == 0


def test_study_of_an_audit_is_accepted(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "ab":
        for k in range(3):
            path = tmp_path / "images" / name / f"{k}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (16, 16), (40 * k, 0, 0)).save(path)
    monkeypatch.chdir(tmp_path)
    network = build(
        resolve(builders, {"name": "cifar_vgg", "arch": "vgg8"}), 2, [0.5] * 3, [0.5] * 3, 0
    )
    for name in ("t", "s"):
        torch.save(network.body.state_dict(), tmp_path / f"{name}.pt")
    networks = ["--teacher", "cifar_vgg/vgg8@t.pt", "--student", "cifar_vgg/vgg8@s.pt"]
    words = ["audit", *networks, "--data", "images", "--normalise", "half"]
    done = CliRunner().invoke(cli.app, [*words, "--study-file", "study.yaml"])
    assert done.exit_code == 0, done.output
    raw = yaml.safe_load((tmp_path / "study.yaml").read_text())
    status, text = command(tmp_path, raw, "--data")
    assert status == 0, text
    (tmp_path / "s.pt").unlink()
    status, text = command(tmp_path, raw, "--data")
    assert status
    assert "models.student_distilled: There are no weights" in text


def test_nothing_runs_where_a_layer_is_missing(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, looked = tmp_path / "study.yaml", []
    path.write_text(yaml.safe_dump(study(probes__cka={"layers": ["relu7"]})))
    monkeypatch.setattr("kdpipe.run.inprocess.run_job", lambda *_: looked.append("job"))
    done = CliRunner().invoke(cli.app, ["run", str(path), "--results", str(tmp_path)])
    assert isinstance(done.exception, KdpipeError)
    assert "has no layer 'relu7'" in str(done.exception)
    assert looked == []
    assert not (tmp_path / "s" / PASSED).exists()


def test_what_passed_is_looked_at_once(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = Plan(parse(study()))
    looked: list[str] = []
    monkeypatch.setattr(
        "kdpipe.plan.check_networks.check_networks", lambda *_: looked.append("") or []
    )
    before_run(plan, tmp_path / "s", None)
    before_run(plan, tmp_path / "s", None)
    assert len(looked) == 1
    before_run(Plan(parse(study(data__sets__d__size=20))), tmp_path / "s", None)
    assert len(looked) == 2


def test_shapes_of_a_student_that_decides_by_its_teachers_classifier() -> None:
    """A projector's maps have the channels of the teacher's layer and the smaller of both sizes;
    in a sum, other terms read the same student."""
    simkd = {"simkd": {"teacher_layer": "penultimate"}}
    methods = {"simkd": simkd["simkd"], "both": {"objective": "sum", "terms": [{"crd": {}}, simkd]}}
    raw = study(pairs__p__methods=methods)
    assert said(raw) == []
    plan = Plan(parse(raw))
    pair, networks = plan.study.pairs["p"], Networks(plan, None)
    alone, both = (networks.objective("here", pair, ref) for ref in pair.methods.values())
    assert alone is not None
    assert both is not None
    assert alone.shapes == {"reused.projector": (128, 1, 1)}
    assert both.shapes == {"penultimate": (128,), "reused.projector": (128, 1, 1)}


def test_an_objective_that_makes_no_sense_with_the_number_of_classes_is_named():
    halves = {"low": ["0", "1", "2", "3", "4"], "high": ["5", "6", "7", "8", "9"]}
    methods = {"kl": {}, "dkd": {}, "both": {"terms": ["kl", "dkd"]}}
    raw = study(data__sets__d__classes=halves, pairs__p__methods=methods)
    found = said(raw)
    assert len(found) == 2
    assert found[0].startswith("pairs.p.methods.dkd: dkd: it compares the classes")
    assert "of 2 classes" in found[1]
    assert said(study(pairs__p__methods=methods)) == []
