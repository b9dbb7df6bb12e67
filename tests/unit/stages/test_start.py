"""Students that start from another network's weights: bit for bit, with noise, and resumed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from helpers.few_digits import write_digits
from kdpipe.base.errors import KdpipeError
from kdpipe.base.paths import ModelRef, StudentRef
from kdpipe.base.plugin import resolve
from kdpipe.data.selection import Selection
from kdpipe.distill import objectives
from kdpipe.models import builders
from kdpipe.models.base import build
from kdpipe.stages import distil, train
from kdpipe.stages.base import Call
from kdpipe.stages.shared.start import StartSettings
from kdpipe.training.checkpoint import Checkpoint
from kdpipe.training.compute import Compute
from kdpipe.training.recipe import Recipe
from kdpipe.training.start import difference, place, tensors_of

TEACHER, INDEPENDENT = ModelRef(model="teacher", seed=4), ModelRef(model="student", seed=2)
# With batch normalisation, whose running statistics are no parameters.
NETWORK = resolve(builders, {"name": "wrn", "depth": 10, "width": 1})
SETTINGS = {
    "network": NETWORK,
    "data": Selection(set="digits", domains=["grey"]),
    "augment": [],
    "recipe": Recipe(epochs=1, batch_size=16),
    "compute": Compute(),
}
State = dict[str, Tensor]


def state(network) -> State:
    return {name: x.clone() for name, x in network.body.state_dict().items()}


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> tuple[Path, dict[str, State]]:
    """A folder with a teacher and an independent student, and the weights that each started from,
    as their own trainings had them."""
    root = tmp_path_factory.mktemp("study")
    write_digits(root, 12, "grey", "original")
    starts, set_up = {}, train.set_up
    with pytest.MonkeyPatch.context() as patch:

        def kept(settings, *more):
            setup = set_up(settings, *more)
            starts[settings.ref.model] = state(setup.network)
            return setup

        patch.setattr(train, "set_up", kept)
        for ref in (TEACHER, INDEPENDENT):
            settings = train.TrainSettings(ref=ref, **SETTINGS)
            train.run(settings, Call(root, root / ref.path))
    return root, starts


def settings_of(init: dict | None) -> distil.DistilSettings:
    start = StartSettings(
        **{
            "ref": TEACHER,
            "at": "start",
            "noise": 0.0,
            "layers": [],
            "network": NETWORK,
            "auxiliary": 0,
            "set": "digits",
            "drawn_as": None,
            **(init or {}),
        }
    )
    return distil.DistilSettings(
        ref=StudentRef(pair="pair", method="kl", seed=2),
        teacher=TEACHER,
        objective=resolve(objectives, "kl"),
        start_as=INDEPENDENT,
        init=None if init is None else start,
        tabulated=False,
        **SETTINGS,
    )


def first(root: Path, monkeypatch, init: dict | None) -> State:
    """The weights of a student before its first step."""
    found = []

    def caught(_settings, setup, *more):
        found.append(state(setup.network))

    with monkeypatch.context() as patch:
        patch.setattr(distil, "train_and_save", caught)
        distil.run(settings_of(init), Call(root, root / "out"))
    return found[0]


def same(one: State, other: State) -> bool:
    assert one.keys() == other.keys()
    return all(torch.equal(x, other[name]) for name, x in one.items())


def test_a_student_starts_where_its_teacher_did_or_ended(study, monkeypatch):
    root, starts = study
    assert same(first(root, monkeypatch, {}), starts["teacher"])
    file = load_file(root / TEACHER.path / "model.safetensors")
    ends = {n.removeprefix("body."): x for n, x in file.items() if n.startswith("body.")}
    assert same(first(root, monkeypatch, {"at": "end"}), ends)
    assert not same(starts["teacher"], ends)


def test_without_the_key_it_starts_as_the_independent_student(study, monkeypatch):
    root, starts = study
    assert same(first(root, monkeypatch, None), starts["student"])


def test_some_layers_come_from_the_teacher_and_the_rest_is_its_own_draw(study, monkeypatch):
    root, starts = study
    found = first(root, monkeypatch, {"layers": ["fc"]})
    for name, x in found.items():
        whose = "teacher" if name.startswith("fc.") else "student"
        assert torch.equal(x, starts[whose][name]), name


def test_noise_has_the_spread_of_each_tensor_and_grows_with_the_distance(study, monkeypatch):
    root, starts = study
    near, far = (first(root, monkeypatch, {"noise": s}) for s in (0.1, 0.4))
    parameters = {n for n, _ in build(NETWORK, 10, [0] * 3, [1] * 3, 0).body.named_parameters()}
    drawn = []
    for name, x in starts["teacher"].items():
        if name not in parameters:
            assert torch.equal(near[name], x), name
            continue
        moved = (near[name] - x).double()
        torch.testing.assert_close((far[name] - x).double(), 4 * moved, rtol=1e-3, atol=1e-5)
        spread = x.double().sub(x.double().mean()).square().mean().sqrt()
        if spread == 0:  # weights of batch normalisation, all 1
            assert torch.equal(near[name], x), name
        elif x.numel() > 1000:
            drawn.append((moved / (0.1 * spread)).flatten())
    assert len(drawn) > 3
    numbers = torch.cat(drawn)
    assert abs(float(numbers.mean())) < 4 / len(numbers) ** 0.5
    assert float(numbers.std()) == pytest.approx(1, abs=4 / (2 * len(numbers)) ** 0.5 + 1e-3)
    assert float((numbers.abs() < 1).double().mean()) == pytest.approx(0.6827, abs=0.02)
    assert abs(float((drawn[0][:1000] * drawn[1][:1000]).mean())) < 0.15  # not the same numbers


def test_the_noise_is_the_students_own(study):
    _, starts = study
    networks = [build(NETWORK, 10, [0] * 3, [1] * 3, 0, 12) for _ in range(3)]
    for network, seed in zip(networks, (7, 7, 8), strict=True):
        place(network, starts["teacher"], [], 0.2, seed)
    one, again, other = map(state, networks)
    assert same(one, again)
    assert not same(one, other)


class KilledError(Exception):
    """Stands for whatever ends a process without asking."""


def test_a_student_that_was_killed_goes_on_to_the_same_bytes(study, monkeypatch, capsys):
    root, _ = study
    settings = settings_of({"noise": 0.2})
    distil.run(settings, Call(root, root / "whole", code="c"))
    monkeypatch.setenv("KDPIPE_CHECKPOINT_SECONDS", "0")
    save, saved = Checkpoint.save, []

    def save_and_be_killed(self, made):
        save(self, made)
        saved.append(made)
        if len(saved) == 2:
            raise KilledError

    with monkeypatch.context() as patched:
        patched.setattr(Checkpoint, "save", save_and_be_killed)
        with pytest.raises(KilledError):
            distil.run(settings, Call(root, root / "killed", code="c"))
    distil.run(settings, Call(root, root / "killed", code="c"))
    whole, killed = (root / n / "model.safetensors" for n in ("whole", "killed"))
    assert whole.read_bytes() == killed.read_bytes()
    assert "Going on after epoch 0 of 1 and 2 steps" in capsys.readouterr().out


def test_the_first_tensor_that_differs_is_named():
    own = build(NETWORK, 10, [0] * 3, [1] * 3, 0, 12)
    wide = build(resolve(builders, {"name": "wrn", "depth": 10, "width": 2}), 10, [0], [1], 0, 12)
    other = build(resolve(builders, "mnist_cnn"), 10, [0], [1], 0, 12)
    with pytest.raises(KdpipeError, match=r"tensor '\S+' is \S+×3×3 and \S+×3×3 in the other net"):
        place(own, state(wide), [], 0, 0)
    assert "not in the other network" in difference(state(own), state(other), list(state(own)))
    assert difference(state(own), state(own), list(state(own))) == ""
    with pytest.raises(KdpipeError, match="the layer 'relu' has no weights"):
        tensors_of(own, ["relu"])
    with pytest.raises(KdpipeError, match="no layer 'head'"):
        tensors_of(own, ["head"])
