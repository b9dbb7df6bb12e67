"""A tabulated teacher makes the student of a live one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from helpers.few_digits import write_digits
from helpers.saved_network import REF, saved
from kdpipe.base.errors import KdpipeError
from kdpipe.base.paths import ModelRef, StudentRef
from kdpipe.base.plugin import PluginRef, resolve
from kdpipe.data.augment import augmentations
from kdpipe.data.images import as_float
from kdpipe.data.selection import Selection
from kdpipe.data.store import Subset
from kdpipe.distill import objectives
from kdpipe.stages import distil, teacher_outputs, train
from kdpipe.stages.base import Call
from kdpipe.stages.shared.training import load_images
from kdpipe.training.artefact import load
from kdpipe.training.compute import Compute
from kdpipe.training.loop import Images
from kdpipe.training.recipe import Recipe
from kdpipe.training.table import declined
from kdpipe.training.teacher import LiveTeacher, TabulatedTeacher


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    """A subset of 60 training digits, a teacher, and a table of its outputs."""
    root = tmp_path_factory.mktemp("study")
    write_digits(root, 28, "grey", "original")
    ref = ModelRef(model="teacher")
    train.run(
        train.TrainSettings(ref=ref, augment=[], recipe=Recipe(epochs=2), **COMMON),
        Call(root, root / ref.path),
    )
    for batch_size in (29, 32):
        tabulate(root, f"plain{batch_size}", [], batch_size)
    return root


COMMON = {
    "network": REF,
    "data": Selection(set="digits", domains=["grey"]),
    "compute": Compute(),
}

CROP_AND_FLIP = [
    resolve(augmentations, {"name": "pad_crop", "pad": 1}),
    resolve(augmentations, "flip"),
]


def tabulate(
    root, pair, augment, batch_size, limit_gb=1.0, required=True, fp16=False, teacher="teacher"
) -> Path:
    """Write the table of a pair; returns its path."""
    out = root / f"teacher_outputs/{pair}.safetensors"
    settings = teacher_outputs.TeacherOutputsSettings(
        teacher=ModelRef(model=teacher),
        layers=["penultimate"],
        data=COMMON["data"],
        augment=augment,
        batch_size=batch_size,
        limit_gb=limit_gb,
        required=required,
        fp16=fp16,
        compute=COMMON["compute"],
    )
    teacher_outputs.run(settings, Call(root, out))
    return out


def distilled(
    study: Path, objective: PluginRef, tabulated: bool, batch_size: int, pair=None, augment=()
) -> dict[str, Tensor]:
    """The weights of a student."""
    pair = pair or f"plain{batch_size}"
    out = study / f"out/{pair}-{objective.name}-{tabulated}-{batch_size}"
    distil.run(
        distil.DistilSettings(
            ref=StudentRef(pair=pair, method=objective.name, seed=0),
            teacher=ModelRef(model="teacher"),
            objective=objective,
            tabulated=tabulated,
            augment=augment,
            recipe=Recipe(epochs=2, batch_size=batch_size),
            **COMMON,
        ),
        Call(study, out),
    )
    return load_file(out / "model.safetensors")


OBJECTIVES = [
    resolve(objectives, {"name": "kl", "temperature": 4}),
    resolve(objectives, {"name": "crd", "negatives": 8, "dimension": 16}),
]


def training_images(study: Path) -> Images:
    return load_images(Subset(study / "subset/digits"), COMMON["data"], "train", "cpu")


def teachers(study: Path) -> tuple[LiveTeacher, TabulatedTeacher]:
    layers = ("penultimate",)
    path = study / "teacher_outputs/plain32.safetensors"
    live = LiveTeacher(load(study / "models/teacher/seed0"), layers)
    return live, TabulatedTeacher(path, layers, torch.device("cpu"))


@pytest.mark.parametrize("batch_size", [32, 29])
@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda ref: ref.name)
def test_tabulated_teacher_makes_the_very_student_of_the_live_teacher(study, objective, batch_size):
    """Bit for bit. A last batch of 2 images would be rounded in another way than one of 29, which
    is why the live teacher fills it up."""
    first, second = (distilled(study, objective, t, batch_size) for t in (False, True))
    for name in first:
        assert torch.equal(first[name], second[name]), name


def test_table_of_every_view_makes_the_very_student_of_augmented_training(study):
    tabulate(study, "views", CROP_AND_FLIP, 32)
    table = load_file(study / "teacher_outputs/views.safetensors")
    assert table["logits"].shape == (18, 60, 10)
    assert table["penultimate"].shape == (18, 60, 128)
    how = {"pair": "views", "augment": CROP_AND_FLIP}
    for objective in OBJECTIVES:
        first, second = (distilled(study, objective, t, 32, **how) for t in (False, True))
        for name in first:
            assert torch.equal(first[name], second[name]), name
    plain = distilled(study, OBJECTIVES[0], False, 32)
    assert not torch.equal(first["body.fc2.weight"], plain["body.fc2.weight"])


def test_a_table_over_the_limit_leaves_the_teacher_in_the_step(study, capsys):
    """60 images in one view: logits and penultimate features, 138 numbers of 4 bytes each."""
    path = tabulate(study, "large", [], 32, limit_gb=33e-6, required=False)
    assert "3.31e-05 GB" in declined(path)
    assert path.stat().st_size < 1000
    students = [distilled(study, OBJECTIVES[0], t, 32, pair="large") for t in (True, False)]
    assert "The teacher runs at every step" in capsys.readouterr().out
    assert all(torch.equal(students[0][name], students[1][name]) for name in students[0])
    tabulate(study, "large", [], 32, limit_gb=34e-6, required=False)
    assert declined(path) is None
    with pytest.raises(KdpipeError, match=r"more than compute\.teacher_outputs_gb: 3.3e-05; raise"):
        tabulate(study, "large", [], 32, limit_gb=33e-6)


def test_a_table_in_half_precision_takes_half_the_disk_and_rounds_to_eleven_bits(study):
    path = tabulate(study, "half", [], 32, fp16=True)
    exact = study / "teacher_outputs/plain32.safetensors"
    # 60 images, 138 numbers each, a header of at most 200 bytes in both.
    assert exact.stat().st_size - path.stat().st_size == pytest.approx(60 * 138 * 2, abs=200)
    rows, layers = torch.arange(60), ("penultimate",)
    results = [
        TabulatedTeacher(p, layers, torch.device("cpu"))(torch.empty(0), rows)
        for p in (exact, path)
    ]
    (logits, features), (rounded, rounded_features) = results
    for full, half in (
        (logits, rounded),
        (features["penultimate"], rounded_features["penultimate"]),
    ):
        assert half.dtype == torch.float32
        assert 0 < ((half - full).abs() / full.abs().clamp(min=1e-3)).max() <= 2**-11


def test_a_teacher_beyond_half_precision_is_refused(study):
    from safetensors.torch import save_file

    large = study / "models/large/seed0"
    large.mkdir(parents=True)
    for name in ("model.json", "history.parquet"):
        (large / name).write_bytes((study / "models/teacher/seed0" / name).read_bytes())
    weights = load_file(study / "models/teacher/seed0/model.safetensors")
    weights["body.fc2.weight"] *= 1e6
    save_file(weights, large / "model.safetensors")
    with pytest.raises(KdpipeError, match=r"'logits' exceeds 65504.*teacher_outputs_fp16 to false"):
        tabulate(study, "large16", [], 32, fp16=True, teacher="large")
    assert not (study / "teacher_outputs/large16.safetensors").exists()


def test_table_has_a_row_per_training_image_in_their_order(study):
    images = training_images(study)
    live, lookup = teachers(study)
    assert len(lookup.table["logits"]) == len(images.labels) == 60
    rows = torch.tensor([41, 3, 17])
    want_logits, want_features = live(as_float(images.pixels[rows]), rows)
    logits, features = lookup(torch.empty(0), rows)
    torch.testing.assert_close(logits, want_logits, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(features["penultimate"], want_features["penultimate"])


def test_model_json_says_what_the_weights_are(study):
    about = json.loads((study / "models/teacher/seed0/model.json").read_text())
    assert about["network"] == REF.as_json()
    assert about["classes"] == [str(d) for d in range(10)]
    assert about["parameters"] == 1_200_458
    assert about["training_images"] == {str(d): 6 for d in range(10)}
    # Grey digits: the three channels are the same.
    assert len(set(about["mean"])) == len(set(about["std"])) == 1


def test_teacher_of_another_task_is_refused(study):
    ref = ModelRef(model="three")
    folder = study / ref.path
    saved(folder)
    with pytest.raises(KdpipeError, match=r"models/three/seed0 was trained on .* class_map"):
        distil.run(
            distil.DistilSettings(
                ref=StudentRef(pair="main", method="kl", seed=0),
                teacher=ref,
                objective=resolve(objectives, "kl"),
                tabulated=False,
                augment=[],
                recipe=Recipe(epochs=1),
                **COMMON,
            ),
            Call(study, study / "out/none"),
        )
