"""Students that need their teacher's classifier, from training to loading."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from helpers.few_digits import write_digits
from kdpipe.base.errors import KdpipeError
from kdpipe.base.paths import ModelRef, StudentRef
from kdpipe.base.plugin import PluginRef, resolve
from kdpipe.data.selection import Selection
from kdpipe.distill import objectives
from kdpipe.models import builders
from kdpipe.stages import distil, teacher_outputs, train
from kdpipe.stages.base import Call
from kdpipe.training.compute import Compute
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
    study: Path, objective: PluginRef, teacher: str = "cnn", tabulated: bool = False
) -> dict[str, Tensor]:
    """The weights of a student."""
    out = study / f"out/{objective.name}-{teacher}-{tabulated}"
    settings = distil.DistilSettings(
        ref=StudentRef(pair="pair", method=objective.name, seed=0),
        network=resolve(builders, "mnist_cnn"),
        teacher=ModelRef(model=teacher),
        objective=objective,
        tabulated=tabulated,
        recipe=Recipe(epochs=2, batch_size=29),
        **COMMON,
    )
    distil.run(settings, Call(study, out))
    return load_file(out / "model.safetensors")


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
