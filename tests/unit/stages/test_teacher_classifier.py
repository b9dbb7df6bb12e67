"""Students that need their teacher's classifier, from training to loading."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from helpers.few_digits import write_digits
from kdpipe.base.errors import KdpipeError
from kdpipe.base.paths import ModelRef, StudentRef
from kdpipe.base.plugin import PluginRef, resolve
from kdpipe.base.seeding import stream
from kdpipe.data.selection import Selection
from kdpipe.data.store import Subset
from kdpipe.distill import objectives
from kdpipe.models import builders
from kdpipe.models.base import build
from kdpipe.stages import distil, teacher_outputs, train
from kdpipe.stages.base import Call
from kdpipe.stages.shared.training import load_images, stream_of
from kdpipe.training.artefact import load
from kdpipe.training.checkpoint import Checkpoint
from kdpipe.training.compute import Compute
from kdpipe.training.loop import evaluate
from kdpipe.training.recipe import Recipe

COMMON: dict[str, Any] = {
    "data": Selection(set="digits", domains=["grey"]),
    "augment": [],
    "compute": Compute(),
}
TEACHERS: dict[str, Any] = {
    "cnn": "mnist_cnn",
    "linear": {"name": "mlp", "hidden": []},
}


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    """A subset of 60 training digits of 16 pixels, and teachers."""
    root = tmp_path_factory.mktemp("study")
    write_digits(root, 16, "grey", "original")
    for name, network in TEACHERS.items():
        ref = ModelRef(model=name)
        train.run(
            train.TrainSettings(
                ref=ref, network=resolve(builders, network), recipe=Recipe(epochs=1), **COMMON
            ),
            Call(root, root / ref.path),
        )
    return root


def distilled(
    study: Path,
    objective: PluginRef,
    teacher: str = "cnn",
    tabulated: bool = False,
    code: str = "",
) -> dict[str, Tensor]:
    """The weights of a student."""
    out = folder(study, objective, teacher, tabulated)
    settings = distil.DistilSettings(
        ref=StudentRef(pair="pair", method=objective.name, seed=0),
        network=resolve(builders, "mnist_cnn"),
        teacher=ModelRef(model=teacher),
        objective=objective,
        tabulated=tabulated,
        start_as=ModelRef(model="student"),
        recipe=Recipe(epochs=2, batch_size=29),
        **COMMON,
    )
    distil.run(settings, Call(study, out, code=code))
    return load_file(out / "model.safetensors")


def folder(study: Path, objective: PluginRef, teacher="cnn", tabulated=False) -> Path:
    return study / f"out/{objective.name}-{teacher}-{tabulated}"


def test_srrl_with_a_table_makes_the_very_student_of_the_live_teacher(study):
    settings = teacher_outputs.TeacherOutputsSettings(
        teacher=ModelRef(model="cnn"),
        layers=["penultimate"],
        batch_size=29,
        limit_gb=1,
        required=True,
        **COMMON,
    )
    teacher_outputs.run(settings, Call(study, study / "teacher_outputs/pair.safetensors"))
    srrl = resolve(objectives, "srrl")
    first, second = (distilled(study, srrl, tabulated=t) for t in (False, True))
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(first[name], second[name]), name


def test_a_teacher_without_a_last_linear_layer_is_refused(study):
    with pytest.raises(KdpipeError, match=r"srrl: the logits of models/linear/seed0 are no linear"):
        distilled(study, resolve(objectives, "srrl"), "linear")


def test_a_layer_that_the_classifier_does_not_read_is_refused(study):
    srrl = resolve(objectives, {"name": "srrl", "teacher_layer": "cam"})
    with pytest.raises(KdpipeError, match=r"layer 'cam'; set teacher_layer to the layer that"):
        distilled(study, srrl)


SIMKD = resolve(objectives, {"name": "simkd", "teacher_layer": "penultimate"})
"""Of a teacher whose classifier reads what another linear layer gives."""


def test_a_simkd_student_is_saved_with_its_teachers_classifier(study):
    """Accuracy in the history is that of the network that is loaded."""
    weights = distilled(study, SIMKD)
    teacher = load_file(study / "models/cnn/seed0/model.safetensors")
    assert torch.equal(weights["reused.classifier.weight"], teacher["body.fc2.weight"])
    assert torch.equal(weights["reused.classifier.bias"], teacher["body.fc2.bias"])
    network = load(folder(study, SIMKD))
    images = load_images(Subset(study / "subset/digits"), COMMON["data"], "val", "cpu")
    found = evaluate(network, images, 29, COMMON["compute"])
    history = pq.read_table(folder(study, SIMKD) / "history.parquet").to_pylist()
    assert found["val_loss"] == pytest.approx(history[-1]["val_loss"])
    assert found["val_accuracy"] == history[-1]["val_accuracy"]
    assert history[1]["train_features"] < history[0]["train_features"]
    about = json.loads((folder(study, SIMKD) / "model.json").read_text())
    assert about["reused"]["layer"] == network.dotted("cam")


def test_a_simkd_student_starts_as_its_independent_student(study):
    """What is not trained shows it: the body's own classifier."""
    weights, seed = distilled(study, SIMKD), stream_of(ModelRef(model="student"))
    own = stream("weights", seed)
    fresh = build(resolve(builders, "mnist_cnn"), 10, [0.5] * 3, [1.0] * 3, own, 16)
    assert torch.equal(weights["body.fc2.weight"], fresh.body.fc2.weight)
    assert not torch.equal(weights["body.conv1.weight"], fresh.body.conv1.weight)


def test_a_simkd_student_that_was_killed_goes_on_to_the_same_weights(study, monkeypatch, capsys):
    whole = distilled(study, SIMKD)
    monkeypatch.setenv("KDPIPE_CHECKPOINT_SECONDS", "0")
    save, saved = Checkpoint.save, []

    def save_and_be_killed(self, state):
        save(self, state)
        saved.append(state["progress"]["steps"])
        if len(saved) == 3:
            raise InterruptedError

    with monkeypatch.context() as patched:
        patched.setattr(Checkpoint, "save", save_and_be_killed)
        with pytest.raises(InterruptedError):
            distilled(study, SIMKD, code="c")
    resumed = distilled(study, SIMKD, code="c")
    assert "Going on after epoch" in capsys.readouterr().out
    for name, tensor in whole.items():
        assert torch.equal(resumed[name], tensor), name


def test_a_map_that_the_classifier_does_not_read_is_refused(study):
    with pytest.raises(KdpipeError, match="simkd: the logits of models/cnn/seed0 are no"):
        distilled(study, resolve(objectives, "simkd"))
