"""Audits of networks whose files say everything: nothing is declared."""

from __future__ import annotations

import json
import re
from argparse import Namespace
from pathlib import Path

import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from helpers import hub_folders
from kdpipe.audit.networks import Told, entry
from kdpipe.base.errors import KdpipeError
from kdpipe.cli import app
from kdpipe.study.includes import read_yaml

FACTORY = """
import torch
from helpers import hub_folders

def vit():
    return hub_folders.network("vit")

def resnet():
    return hub_folders.network("resnet")

def finished():
    made = hub_folders.network("resnet")
    made.load_state_dict(torch.load("small.pt"))
    return made
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Folders ``vit`` and ``small`` of transformers, their state dicts as files, and images."""
    folder = tmp_path_factory.mktemp("hub")
    hub_folders.pictures(folder / "images")
    for name, kind, how in (
        ("vit", "vit", hub_folders.processor()),
        ("small", "resnet", hub_folders.processor(image_mean=[0.4, 0.5, 0.6])),
    ):
        network = hub_folders.taught(hub_folders.network(kind), folder / "images")
        hub_folders.saved(folder / name, network, how)
        torch.save(network.state_dict(), folder / f"{name}.pt")
    (folder / "hubnets.py").write_text(FACTORY)
    return folder


@pytest.fixture
def here(made, tmp_path, monkeypatch) -> Path:
    for place in made.iterdir():
        (tmp_path / place.name).symlink_to(place)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def audited(*words: str) -> str:
    done = CliRunner().invoke(app, ["audit", *words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def composed(*words: str) -> tuple[dict, str]:
    said = audited(*words, "--study-file", "a.yaml")
    return read_yaml(Path("a.yaml")), said


def refused(match: str, *words: str) -> str:
    done = CliRunner().invoke(app, ["audit", *words])
    assert isinstance(done.exception, KdpipeError), done.output
    text = str(done.exception)
    assert re.search(match, text), text
    assert not re.search(r"(weights|training|compute|data)\.\w|models/", text), text
    return done.output


NOTHING = ("--teacher", "./vit", "--student", "./small", "--data", "images/")
DECLARED = (
    *("--teacher", "hubnets:vit@vit.pt", "--student", "hubnets:resnet@small.pt"),
    *("--data", "images/", "--trust-code", "--size", "32", "--fit", "stretch"),
    *("--teacher-normalise", "0.5/0.5", "--student-normalise", "0.4,0.5,0.6/0.5,0.5,0.5"),
    *("--teacher-size", "32", "--student-size", "32", "--classes", "bird,cat,dog_house"),
)


def test_nothing_declared_gives_the_numbers_of_everything_declared(here):
    """Two folders of transformers and a folder of images."""
    few = ("--probes", "accuracy,fidelity,cka,localization")
    found = []
    for name, words in (("nothing", NOTHING), ("declared", DECLARED)):
        audited(*words, *few, "--name", name)
        assert (here / "results" / name / "report.html").is_file()
        table = pd.read_parquet(here / "results" / name / "tables" / "measurements.parquet")
        found.append(table.drop(columns="study"))
    assert set(found[0]["probe"]) == {"accuracy", "fidelity", "cka", "localization"}
    assert found[0]["value"].notna().any()
    pd.testing.assert_frame_equal(*found)


def test_what_was_read_from_which_file_is_said(here):
    made, said = composed(*NOTHING)
    assert "--teacher ./vit: ViTForImageClassification from config.json; 3 classes (Bird, " in said
    assert "weights from model.safetensors" in said
    assert (
        "mean 0.4,0.5,0.6, std 0.5, both sides to 32 pixels from preprocessor_config.json" in said
    )
    weights = made["models"]["student_distilled"]["weights"]
    assert weights["classes"] == list(hub_folders.LABELS)
    assert (weights["mean"], weights["size"]) == ([0.4, 0.5, 0.6], 32)
    data = made["data"]["sets"]["images"]
    assert (data["size"], data["fit"]) == (32, "stretch")


def test_what_is_told_wins(here):
    made, said = composed(
        *NOTHING,
        "--normalise",
        "half",
        "--student-size",
        "16",
        "--classes",
        "a,b,c",
        "--fit",
        "crop",
    )
    weights = made["models"]["student_distilled"]["weights"]
    assert (weights["mean"], weights["size"]) == ([0.5] * 3, 16)
    assert weights["classes"] == ["a", "b", "c"]
    assert "fit" not in made["data"]["sets"]["images"]
    assert "--normalise and --size and --classes instead of what it says" in said


def test_the_middle_is_cut_out_as_the_files_say(here):
    hub_folders.quiet().ConvNextImageProcessor(
        size={"shortest_edge": 28}, resample=3
    ).save_pretrained("cut")
    hub_folders.network("resnet").save_pretrained("cut")
    made, said = composed("--teacher", "cut", "--student", "vit", "--data", "images")
    data = made["data"]["sets"]["images"]
    assert (data["size"], data["store_size"]) == (32, 37)
    assert "it resizes by bicubic interpolation, kdpipe by bilinear" in said
    assert "--student was trained on images prepared otherwise (both sides to 32 pixels)" in said
    small = hub_folders.quiet().ConvNextImageProcessor(size={"shortest_edge": 64})
    small.save_pretrained("cut")
    made, said = composed("--teacher", "cut", "--student", "cut/../cut", "--data", "images")
    assert "store_size" not in made["data"]["sets"]["images"]
    assert "its images have 32 pixels, so they are not brought to 36" in said


def test_outputs_without_names_stand_for_the_classes_of_the_data(here):
    hub_folders.saved(here / "plain", hub_folders.network("resnet", labels=None))
    made, said = composed("--teacher", "vit", "--student", "plain", "--data", "images")
    assert "classes" not in made["models"]["student_distilled"]["weights"]
    assert "its outputs have no names, so they stand for the classes of the data" in said


def test_a_folder_without_preprocessing_needs_a_declaration(here):
    hub_folders.saved(here / "bare", hub_folders.network("resnet"), False)
    refused(
        "model.safetensors does not say how images are normalised; give --student-normalise",
        *("--teacher", "vit", "--student", "bare", "--data", "nowhere"),
    )
    composed("--teacher", "vit", "--student", "bare", "--data", "images", "--normalise", "half")


@pytest.mark.parametrize(
    ("spec", "match"),
    [
        ("images", "neither a model.json of kdpipe nor a config.json of transformers or timm"),
        (
            "google/vit-base",
            r"Download a network .* hf download google/vit-base --local-dir vit-base",
        ),
        ("torchvision/resnet18", "say which weights the network has, as torchvision/resnet18@best"),
        ("vit/model.safetensors", "give the folder of this file, vit, which says"),
        ("vit.pt", "holds weights and no network"),
    ],
)
def test_what_is_no_network(here, spec, match):
    refused(match, "--teacher", spec, "--student", "small", "--data", "images")


def test_errors_about_checkpoints_come_before_any_image(here, monkeypatch):
    monkeypatch.setattr("kdpipe.audit.compose.data_set", None)
    torch.save({"w": torch.ones(2)}, "other.pt")
    told = ("--data", "images", "--normalise", "half", "--trust-code")
    said = "--student: .*other.pt does not fit .* lacks .*weight"
    for net in ("hubnets:resnet@other.pt", "torchvision/resnet18@other.pt", "wrn@other.pt"):
        refused(said, "--teacher", "vit", "--student", net, *told)
    import torchvision

    torch.save(torchvision.models.resnet18(num_classes=3).state_dict(), "r18.pt")
    refused(
        r"--student: .*r18.pt: 'fc.weight' has the shape \(3, 512\)",
        *("--teacher", "vit", "--student", "torchvision/resnet50@r18.pt", *told, "--size", "32"),
    )
    monkeypatch.undo()


def test_a_network_that_lacks_classes_is_refused_before_images_are_decoded(here, monkeypatch):
    hub_folders.saved(here / "other", hub_folders.network("resnet", labels=("a", "b", "c")))
    monkeypatch.setattr("kdpipe.run.inprocess.run_all", None)
    refused(
        r"--student: the network was trained on the classes a, b, c, but --data has bird, cat, "
        r"dog_house.*give --class-map",
        *("--teacher", "vit", "--student", "other", "--data", "images"),
    )


def test_a_function_that_gives_its_network_the_weights(here):
    made, _ = composed(
        *("--teacher", "vit", "--student", "hubnets:finished", "--data", "images"),
        *("--trust-code", "--student-normalise", "half", "--student-classes", "bird,cat,dog_house"),
    )
    assert made["models"]["student_distilled"]["weights"]["published"] == "own"
    told = ("--data", "images", "--trust-code")
    refused(
        r"hubnets:finished does not say how images are normalised; give --student-normalise",
        *("--teacher", "vit", "--student", "hubnets:finished", *told),
    )
    (here / "drawn.py").write_text(
        "from torch import nn\n\ndef net():\n    return nn.Linear(3, 3)\n"
    )
    refused(
        "drawn:net gives a network with random weights .*; give its checkpoint",
        *("--teacher", "vit", "--student", "drawn:net", *told, "--normalise", "half"),
    )
    refused("add --trust-code", "--teacher", "vit", "--student", "drawn:net", "--data", "images")


def test_a_folder_of_timm(here):
    timm = pytest.importorskip("timm")
    model = timm.create_model("resnet10t", num_classes=3)
    names = ["dog house", "CAT", "bird"]
    timm.models.save_for_hf(model, "folder", model_config={"label_names": names})
    made = entry("teacher", "folder", Told())
    assert made.network["arch"] == "resnet10t"
    assert made.weights["classes"] == names
    assert (made.weights["mean"], made.weights["size"]) == ([0.485, 0.456, 0.406], 176)
    assert made.how is not None
    assert (made.how.resize, made.how.fit) == (201, "crop")
    composed("--teacher", "folder", "--student", "small", "--data", "images")


def test_a_checkpoint_of_timms_training(here, capsys):
    timm = pytest.importorskip("timm")
    state = timm.create_model("resnet10t", num_classes=3).state_dict()
    args = Namespace(model="resnet10t", mean=[0.1, 0.2, 0.3], std=None, img_size=32, crop_pct=1.0,
                     interpolation="bilinear", gp=None, model_kwargs={})  # fmt: skip
    torch.save(
        {"arch": "resnet10t", "state_dict": state, "args": args, "version": 2}, "last.pth.tar"
    )
    made = entry("teacher", "last.pth.tar", Told())
    assert made.network == {"name": "timm", "arch": "resnet10t"}
    assert (made.weights["mean"], made.weights["size"]) == ([0.1, 0.2, 0.3], 32)
    assert made.weights["std"] == [0.229, 0.224, 0.225]
    assert "resnet10t of timm, as the file says" in capsys.readouterr().out
    torch.save({"arch": "resnet18", "state_dict": state}, "theirs.pth.tar")
    with pytest.raises(KdpipeError, match=r"say which one they are of, as NETWORK@theirs"):
        entry("teacher", "theirs.pth.tar", Told())


def test_imagenets_classes_are_known_by_their_order():
    from kdpipe.data.imagenet_names import counted_as_imagenet, names

    usual = list(names().values())
    assert counted_as_imagenet([f"{name}, another name" for name in usual])
    assert not counted_as_imagenet(usual[::-1])
    assert not counted_as_imagenet(usual[:999])


def test_no_key_of_a_study_is_left_in_a_message():
    """Every error of networks, weights and classes, in the words of the command."""
    import ast

    import kdpipe
    from kdpipe.audit.options import translated

    top = Path(kdpipe.__file__).parent
    files = [*(top / "models").rglob("*.py"), top / "data/class_order.py"]
    files += [
        top / f"stages/shared/{name}.py" for name in ("from_weights", "class_names", "classes")
    ]
    elsewhere = ("weights.sha256", "weights.path is a path", "probe it in the study")
    keys = re.compile(
        r"\b(weights|data|training|compute)\.(?!pt)[a-z]|\bweights: |data set '|class_map|"
        r"image_size|size of the data set"
    )
    left, seen = [], 0
    for file in files:
        for call in ast.walk(ast.parse(file.read_text())):
            if not (isinstance(call, ast.Call) and getattr(call.func, "id", "") == "KdpipeError"):
                continue
            text = _text(call.args[0]) if call.args else ""
            seen += 1
            if not any(part in text for part in elsewhere) and keys.search(translated(text)):
                left.append(translated(text))
    assert seen > 50
    assert left == []


def _text(node) -> str:
    """A message, with a name in place of each value."""
    import ast

    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        parts = node.values
        return "".join(_text(p) if isinstance(p, ast.Constant) else "images" for p in parts)
    return ""


def test_the_last_line_is_for_programs(here):
    said = audited(*NOTHING, "--probes", "accuracy")
    assert json.loads(said.splitlines()[-1])["measured"] == ["accuracy"]
