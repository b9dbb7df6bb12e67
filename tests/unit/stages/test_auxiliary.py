"""Outputs beside those of the classes: labels and probes never see them, objectives may."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from helpers.few_digits import write_digits
from kdpipe.base.paths import ModelRef, StudentRef, teacher_outputs_file
from kdpipe.base.plugin import resolve
from kdpipe.base.seeding import stream
from kdpipe.data.images import as_float
from kdpipe.data.selection import Selection
from kdpipe.data.store import Subset
from kdpipe.distill import objectives
from kdpipe.models import builders
from kdpipe.models.base import build
from kdpipe.stages import distil, teacher_outputs, train
from kdpipe.stages.base import Call
from kdpipe.stages.shared.training import load_images
from kdpipe.training.artefact import load
from kdpipe.training.compute import Compute
from kdpipe.training.recipe import Recipe

TEACHER = ModelRef(model="teacher")
NETWORK = resolve(builders, {"name": "pixel_mlp", "hidden": [12]})
DATA = Selection(set="digits", domains=["grey"])
COMMON = {"network": NETWORK, "data": DATA, "augment": [], "compute": Compute()}
TAUGHT = {"gamma": 0, "alpha": 1, "temperature": 2}


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("study")
    write_digits(root, 8, "grey", "original")
    teach(root, TEACHER, auxiliary=3)
    teach(root, ModelRef(model="plain"))
    return root


def teach(root: Path, ref: ModelRef, **more) -> None:
    settings = train.TrainSettings(
        ref=ref, recipe=Recipe(epochs=2, batch_size=30), **COMMON, **more
    )
    train.run(settings, Call(root, root / ref.path))


def student(root: Path, outputs: str, batch_size: int = 30, **more) -> Path:
    """Folder of a student of the teacher."""
    ref = StudentRef(pair="pair", method=f"kl-{outputs}-{batch_size}{'-'.join(more)}", seed=0)
    settings = distil.DistilSettings(
        **{
            "ref": ref,
            "teacher": TEACHER,
            "objective": resolve(objectives, {"name": "kl", **TAUGHT}),
            "start_as": ModelRef(model="student"),
            "outputs": outputs,
            "auxiliary": 3,
            "recipe": Recipe(epochs=1, batch_size=batch_size, optimizer="sgd", lr=0.5),
            "tabulated": False,
            **COMMON,
            **more,
        }
    )
    distil.run(settings, Call(root, root / ref.path))
    return root / ref.path


def start(root: Path):
    """The student before its first step."""
    about = json.loads((root / TEACHER.path / "model.json").read_text())
    seed = stream("weights", stream("model", "student", 0))
    return build(NETWORK, 10, about["mean"], about["std"], seed, 8, 3).eval()


def images(root: Path):
    return load_images(Subset(root / "subset/digits"), DATA, "train", "cpu")


def test_a_network_answers_with_its_classes_unless_it_is_asked_for_more(root):
    network = load(root / TEACHER.path)
    x = as_float(images(root).pixels[:5])
    raw = network.body((x - network.mean) / network.std)
    assert raw.shape == (5, 13)
    assert torch.equal(network(x), raw[:, :10])
    assert torch.equal(network(x, "auxiliary"), raw[:, 10:])
    assert torch.equal(network(x, "all"), raw)
    plain = load(root / "models/plain/seed0")
    assert torch.equal(plain(x), plain(x, "all"))


def test_labels_do_not_train_the_auxiliary_outputs(root):
    """The last layer's rows of these outputs are where they started; those of the classes moved."""
    seed = stream("weights", stream("model", "teacher", 0))
    first = build(NETWORK, 10, [0.5] * 3, [1.0] * 3, seed, 8, 3).body.fc2.weight
    last = load_file(root / TEACHER.path / "model.safetensors")["body.fc2.weight"]
    assert torch.equal(first[10:], last[10:])
    assert not torch.equal(first[:10], last[:10])


@pytest.mark.parametrize(
    ("outputs", "moved"),
    [("classes", [True, False]), ("auxiliary", [False, True]), ("all", [True, True])],
)
def test_an_objective_trains_the_outputs_that_it_sees(root, outputs, moved):
    first = start(root).body.fc2.weight
    last = load_file(student(root, outputs) / "model.safetensors")["body.fc2.weight"]
    assert [
        not torch.equal(first[rows], last[rows]) for rows in (slice(10), slice(10, 13))
    ] == moved


@pytest.mark.parametrize(
    ("outputs", "columns"), [("auxiliary", slice(10, 13)), ("all", slice(0, 13))]
)
def test_the_loss_is_that_of_these_columns_and_the_accuracy_that_of_the_classes(
    root, outputs, columns
):
    """One batch of all images, so that the first epoch's mean is the loss before the first step."""
    folder = student(root, outputs, batch_size=60)
    row = pq.read_table(folder / "history.parquet").to_pylist()[0]
    shown = images(root)
    x = as_float(shown.pixels[:])
    with torch.no_grad():
        theirs, own = (
            n(x, "all").double().numpy() for n in (load(root / TEACHER.path), start(root))
        )

    def log_softmax(z: np.ndarray) -> np.ndarray:
        return z - np.log(np.exp(z).sum(1, keepdims=True))

    p, q = (log_softmax(z[:, columns] / TAUGHT["temperature"]) for z in (theirs, own))
    expected = TAUGHT["temperature"] ** 2 * (np.exp(p) * (p - q)).sum(1).mean()
    assert row["train_kl"] == pytest.approx(expected, rel=1e-4)
    labels = shown.labels.numpy()
    cross_entropy = -log_softmax(own[:, :10])[np.arange(60), labels].mean()
    assert row["train_labels"] == pytest.approx(cross_entropy, rel=1e-4)
    assert row["train_accuracy"] == pytest.approx((own[:, :10].argmax(1) == labels).mean())


def test_a_table_of_the_outputs_makes_the_same_student(root):
    settings = teacher_outputs.TeacherOutputsSettings(
        teacher=TEACHER,
        layers=[],
        outputs="auxiliary",
        data=DATA,
        augment=[],
        batch_size=29,
        limit_gb=1,
        required=True,
        compute=Compute(),
    )
    path = root / teacher_outputs_file("pair")
    teacher_outputs.run(settings, Call(root, path))
    assert load_file(path)["logits"].shape == (1, 60, 3)
    live = (student(root, "auxiliary", 29) / "model.safetensors").read_bytes()
    table = student(root, "auxiliary", 29, tabulated=True)
    assert (table / "model.safetensors").read_bytes() == live


def test_only_a_network_with_such_outputs_says_so(root):
    about = {
        name: json.loads((root / f"models/{name}/seed0/model.json").read_text())
        for name in ("teacher", "plain")
    }
    assert about["teacher"]["auxiliary"] == 3
    assert "auxiliary" not in about["plain"]
    assert "auxiliary" not in about["plain"]["provenance"]["settings"]
