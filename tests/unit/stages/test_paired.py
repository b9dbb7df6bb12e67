"""Students and the independent student of the same seed differ by the teacher alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from helpers.few_digits import write_digits
from kdpipe.base.paths import ModelRef, StudentRef
from kdpipe.base.plugin import resolve
from kdpipe.base.seeding import stream
from kdpipe.data.augment import augmentations
from kdpipe.data.selection import Selection
from kdpipe.distill import objectives
from kdpipe.models import builders
from kdpipe.stages import distil, train
from kdpipe.stages.base import Call
from kdpipe.training.checkpoint import Checkpoint
from kdpipe.training.compute import Compute
from kdpipe.training.recipe import Recipe

INDEPENDENT = ModelRef(model="student", seed=2)
SETTINGS = {
    "network": resolve(builders, "mnist_cnn"),
    "data": Selection(set="digits", domains=["grey"]),
    "augment": [resolve(augmentations, {"name": "pad_crop", "pad": 1})],
    "recipe": Recipe(epochs=2, batch_size=16, lr=0.5),
    "compute": Compute(),
}
# Each with a weight of zero on everything that it takes from the teacher.
WITHOUT_TEACHER = {
    "kl": {"gamma": 1, "alpha": 0},
    "hint": {"gamma": 1, "beta": 0},
    "crd": {"gamma": 1, "beta": 0, "negatives": 8, "dimension": 16},
}


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("study")
    write_digits(root, 12, "grey", "original")
    for ref in (ModelRef(model="teacher"), INDEPENDENT):
        settings = train.TrainSettings(ref=ref, **SETTINGS)
        train.run(settings, Call(root, root / ref.path))
    return root


@pytest.fixture(scope="module")
def independent(root) -> dict[str, Tensor]:
    return load_file(root / INDEPENDENT.path / "model.safetensors")


def student(root: Path, method: str, options: dict, code: str = "", **changes):
    """Weights of a student that starts as the independent one, unless ``changes`` say otherwise."""
    settings = distil.DistilSettings(
        **{
            "ref": StudentRef(pair="pair", method=method, seed=INDEPENDENT.seed),
            "teacher": ModelRef(model="teacher"),
            "objective": resolve(objectives, {"name": method, **options}),
            "start_as": INDEPENDENT,
            "tabulated": False,
            **SETTINGS,
            **changes,
        }
    )
    out = root / f"out/{method}"
    distil.run(settings, Call(root, out, code=code))
    return load_file(out / "model.safetensors")


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(x, other[name]) for name, x in one.items())


@pytest.mark.parametrize("method", WITHOUT_TEACHER)
def test_without_weight_of_the_teacher_a_student_is_the_independent_one(root, independent, method):
    """Bit for bit: start, order, augmentation and dropout, whatever the objective draws."""
    assert same(student(root, method, WITHOUT_TEACHER[method]), independent)


def test_with_weight_of_the_teacher_it_is_another(root, independent):
    assert not same(student(root, "kl", {}), independent)


def test_students_of_all_methods_start_from_the_same_weights(root, monkeypatch):
    starts, set_up = [], distil.set_up

    def kept(*arguments):
        setup = set_up(*arguments)
        starts.append({k: v.clone() for k, v in setup.network.state_dict().items()})
        return setup

    monkeypatch.setattr(distil, "set_up", kept)
    for method in ("kl", "crd"):
        student(root, method, {"negatives": 8} if method == "crd" else {})
    assert same(*starts)


def test_an_unpaired_student_has_streams_of_its_own(root, independent, monkeypatch):
    seeds, set_up = [], distil.set_up
    monkeypatch.setattr(
        distil, "set_up", lambda *arguments: seeds.append(arguments[2]) or set_up(*arguments)
    )
    alone = student(root, "kl", WITHOUT_TEACHER["kl"], start_as=None)
    assert seeds == [stream("student", "pair", "kl", INDEPENDENT.seed)]
    assert not same(alone, independent)


class KilledError(Exception):
    """Stands for whatever ends a process without asking."""


def test_a_student_that_was_killed_goes_on_to_the_same_weights(root, monkeypatch, capsys):
    options = {**WITHOUT_TEACHER["crd"], "beta": 0.8}
    whole = student(root, "crd", options, code="c")
    monkeypatch.setenv("KDPIPE_CHECKPOINT_SECONDS", "0")
    save, saved = Checkpoint.save, []

    def save_and_be_killed(self, state):
        save(self, state)
        saved.append(state["progress"]["steps"])
        if len(saved) == 3:
            raise KilledError

    with monkeypatch.context() as patched:
        patched.setattr(Checkpoint, "save", save_and_be_killed)
        with pytest.raises(KilledError):
            student(root, "crd", options, code="c")
    torch.rand(9)
    assert same(student(root, "crd", options, code="c"), whole)
    assert "Going on after epoch 0 of 2 and 3 steps" in capsys.readouterr().out
