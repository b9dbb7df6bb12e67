"""Students that see their teacher on other images than their own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from pyarrow.parquet import read_table
from safetensors.torch import load_file
from torch import Tensor

from helpers.few_digits import write_digits
from kdpipe.base.errors import KdpipeError
from kdpipe.base.paths import ModelRef, StudentRef
from kdpipe.base.plugin import resolve
from kdpipe.data.augment import augmentations
from kdpipe.data.domains import domains
from kdpipe.data.selection import Selection
from kdpipe.data.sources import sources
from kdpipe.data.split import SplitFractions
from kdpipe.data.transfer import Transfer
from kdpipe.distill import objectives
from kdpipe.models import builders
from kdpipe.stages import distil, subset, teacher_outputs, train
from kdpipe.stages.base import Call
from kdpipe.training.checkpoint import Checkpoint
from kdpipe.training.compute import Compute
from kdpipe.training.recipe import Recipe

INDEPENDENT = ModelRef(model="student", seed=2)
OWN = Selection(set="digits", domains=["grey"])
SETTINGS = {
    "network": resolve(builders, {"name": "mlp", "hidden": [16]}),
    "data": OWN,
    "augment": [resolve(augmentations, {"name": "pad_crop", "pad": 1})],
    "recipe": Recipe(epochs=2, batch_size=16, lr=0.5),
    "compute": Compute(),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("study")
    write_digits(root, 12, "grey", "original")
    for name, changes in {
        "odd": {"classes": {"odd": ["1", "3", "5"], "even": ["0", "2"]}},
        "large": {"size": 16},
        "few": {"per_class": 5, "seed": 1},
    }.items():
        settings = {
            "name": name,
            "source": resolve(sources, "digits"),
            "size": 12,
            "split": SplitFractions(train=0.6, val=0.2, test=0.2),
            "seed": 0,
            "classes": None,
            "per_class": 10,
            "domains": {"colour": resolve(domains, "random_background")},
        }
        made = subset.SubsetSettings(**{**settings, **changes})
        subset.run(made, Call(root, root / f"subset/{name}"))
    for ref in (ModelRef(model="teacher"), INDEPENDENT):
        settings = train.TrainSettings(ref=ref, **SETTINGS)
        train.run(settings, Call(root, root / ref.path))
    return root


def student(root: Path, transfer: dict | None, options=None, code="", name="kl", **changes):
    """Weights, metadata and history of a student that starts as the independent one."""
    settings = distil.DistilSettings(
        **{
            "ref": StudentRef(pair="pair", method=name, seed=INDEPENDENT.seed),
            "teacher": ModelRef(model="teacher"),
            "objective": resolve(objectives, {"name": name, **(options or {"gamma": 0})}),
            "start_as": INDEPENDENT,
            "tabulated": False,
            "transfer": None if transfer is None else Transfer(**transfer),
            **SETTINGS,
            **changes,
        }
    )
    out = root / "out"
    distil.run(settings, Call(root, out, code=code))
    about = json.loads((out / "model.json").read_text())
    history = read_table(out / "history.parquet").to_pylist()
    return load_file(out / "model.safetensors"), about, history


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(x, other[name]) for name, x in one.items())


def test_its_own_images_without_labels_give_the_student_of_gamma_0(root):
    plain = student(root, None)
    unlabelled = student(root, {})
    assert same(plain[0], unlabelled[0])
    assert "transfer_images" not in plain[1]
    assert unlabelled[1]["transfer_images"] == 60
    assert set(unlabelled[1]["training_images"].values()) == {0}
    assert "train_accuracy" not in unlabelled[2][0]


def test_images_that_keep_their_labels_are_as_good_as_its_own(root):
    weights, about, history = student(root, {"labels": True}, {"gamma": 0.5})
    assert same(weights, student(root, None, {"gamma": 0.5})[0])
    assert "transfer_images" not in about
    assert history[0]["train_labels"] > 0
    _, about, _ = student(root, {"without": ["3", "7"], "labels": True}, {"gamma": 0.5})
    assert about["training_images"] == {str(k): 6 * (k not in (3, 7)) for k in range(10)}


@pytest.mark.parametrize("network", ["mlp", "mnist_cnn"])
def test_beside_without_weight_of_the_teacher_it_is_the_independent_student(root, network):
    """Bit for bit: order, augmentation and dropout of its own images stay as they are."""
    options = {"name": network, **({"hidden": [16]} if network == "mlp" else {})}
    made = {**SETTINGS, "network": resolve(builders, options)}
    train.run(train.TrainSettings(ref=INDEPENDENT, **made), Call(root, root / "alone"))
    without = {"gamma": 1, "alpha": 0}
    beside = {"noise": "uniform", "beside": True}
    weights, about, history = student(root, beside, without, network=made["network"])
    assert same(weights, load_file(root / "alone/model.safetensors"))
    assert about["transfer_images"] == 60
    assert sum(about["training_images"].values()) == 60
    assert history[0]["train_accuracy"] > 0


KINDS = {
    "own": {},
    "set": {"set": "odd", "domains": ["colour"]},
    "noise": {"noise": "gaussian", "images": 40},
    "mixup": {"mixup": 0.2},
    "beside": {"set": "few", "domains": ["colour"], "beside": True},
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_student_goes_on_to_the_same_bytes(root, kind, monkeypatch, capsys):
    whole = student(root, KINDS[kind], code="c")
    monkeypatch.setenv("KDPIPE_CHECKPOINT_SECONDS", "0")
    save, saved = Checkpoint.save, []

    def save_and_be_killed(self, state):
        save(self, state)
        saved.append(state)
        if len(saved) == 2:
            raise ZeroDivisionError

    with monkeypatch.context() as patched:
        patched.setattr(Checkpoint, "save", save_and_be_killed)
        with pytest.raises(ZeroDivisionError):
            student(root, KINDS[kind], code="c")
    torch.rand(9)
    again = student(root, KINDS[kind], code="c")
    assert "Going on after epoch 0 of 2 and 2 steps" in capsys.readouterr().out
    assert same(again[0], whole[0])
    assert again[1:] == whole[1:]


@pytest.mark.parametrize("kind", ["own", "set", "beside"])
@pytest.mark.parametrize("name", ["kl", "logits"])
def test_a_table_of_teacher_outputs_makes_the_very_student(root, kind, name):
    transfer = Transfer(**KINDS[kind])
    images = transfer.selection(OWN)
    table = teacher_outputs.TeacherOutputsSettings(
        teacher=ModelRef(model="teacher"),
        layers=[],
        data=images,
        augment=SETTINGS["augment"],
        batch_size=16,
        limit_gb=1.0,
        required=True,
        compute=SETTINGS["compute"],
        classes_of="digits" if images.set != "digits" else None,
    )
    path = root / "teacher_outputs/pair.safetensors"
    teacher_outputs.run(table, Call(root, path))
    assert load_file(path)["logits"].shape[2] == 10
    live, tabulated = (student(root, KINDS[kind], name=name, tabulated=t)[0] for t in (False, True))
    assert same(live, tabulated)
    path.unlink()


@pytest.mark.parametrize(
    ("transfer", "words"),
    [
        ({"set": "large", "domains": ["colour"]}, "'large' are 16 pixels wide.* 'digits' 12"),
        ({"set": "odd", "domains": ["colour"], "labels": True}, "'odd' has the classes odd, even"),
        ({"without": ["ten"]}, "has no class 'ten'"),
    ],
)
def test_images_that_do_not_fit_end_in_a_sentence(root, transfer, words):
    with pytest.raises(KdpipeError, match=words):
        student(root, transfer)
