"""e²KD against plain loops, and its explanations against derivatives taken another way.

Parchami-Araghi et al. 2024; Selvaraju et al. 2017, Eqs. 1 and 2. Tolerances: 1e-10 between two
programs in double precision, 1e-6 where one side is a finite difference.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from helpers import loops
from helpers.small_study import small
from helpers.small_training import CLASSES, assert_same_state, fitted, small_network, some_images
from kdpipe.base.errors import KdpipeError
from kdpipe.base.plugin import resolve
from kdpipe.data.images import as_float
from kdpipe.distill import objectives
from kdpipe.distill.base import Setting, Step
from kdpipe.distill.e2kd import E2KD, E2KDOptions, grad_cam
from kdpipe.models.base import Layers, Network
from kdpipe.plan.teacher_outputs import tabulates, teacher_outputs
from kdpipe.study.schema import parse
from kdpipe.training.draws import OwnStream
from kdpipe.training.loop import Student
from kdpipe.training.recipe import Recipe
from kdpipe.training.teacher import LiveTeacher, asked

OWN, THEIRS = (3, 4, 4), (5, 4, 4)


def made(own=OWN, theirs=THEIRS, classes: int = CLASSES, **options) -> E2KD:
    setting = Setting(torch.arange(8) % classes, classes, {"cam": own}, {"cam": theirs})
    return E2KD(E2KDOptions(**options), setting)


def a_step(n: int = 4, own=OWN, theirs=THEIRS, seed: int = 0, dtype=torch.float64) -> Step:
    rng = np.random.default_rng(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.from_numpy(rng.normal(size=(n, *shape))).to(dtype)

    step = Step(torch.arange(n), torch.arange(n) % CLASSES, draw(CLASSES).requires_grad_())
    step.teacher_logits = draw(CLASSES)
    for features, slopes, shape in (
        (step.features, step.gradients, own),
        (step.teacher_features, step.teacher_gradients, theirs),
    ):
        features["cam"], slopes["cam"] = draw(*shape), draw(*shape)
    for x in (step.features["cam"], step.gradients["cam"]):
        x.requires_grad_()
    return step


def looped_cam(maps: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    channels, height, width = maps.shape
    found = np.zeros((height, width))
    for k in range(channels):
        weight = math.fsum(gradient[k].flat) / (height * width)
        for at in np.ndindex(height, width):
            found[at] += weight * maps[k][at]
    return np.maximum(found, 0)


# Against loops


def test_loss_is_kl_and_one_minus_the_cosine_of_two_grad_cams():
    step = a_step()
    got = made(gamma=0.3, alpha=0.5, beta=2, temperature=3)(step)
    cosines = []
    for k in range(4):
        pairs = (step.features, step.gradients), (step.teacher_features, step.teacher_gradients)
        a, b = (looped_cam(*(x["cam"][k].detach().numpy() for x in pair)) for pair in pairs)
        size = math.sqrt(math.fsum((a * a).flat) * math.fsum((b * b).flat))
        cosines.append(math.fsum((a * b).flat) / size)
    unlike = 1 - sum(cosines) / 4
    student, teacher = step.logits.detach().numpy(), step.teacher_logits.numpy()
    assert float(got["explanations"].detach()) == pytest.approx(unlike, rel=1e-10)
    want = 0.3 * loops.cross_entropy(student, step.labels.numpy())
    want += 0.5 * loops.tempered_kl(teacher, student, 3) + 2 * unlike
    assert float(got["loss"].detach()) == pytest.approx(want, rel=1e-10)


def test_gradient_is_that_of_finite_differences():
    step, objective = a_step(2), made()
    leaves = (step.logits, step.features["cam"], step.gradients["cam"])

    def loss(logits, features, slopes):
        step.logits, step.features["cam"], step.gradients["cam"] = logits, features, slopes
        return objective(step)["loss"]

    assert torch.autograd.gradcheck(loss, leaves)


@pytest.mark.parametrize(("own", "theirs"), [((3, 2, 2), (5, 4, 4)), ((3, 4, 4), (5, 2, 3))])
def test_the_smaller_map_is_enlarged(own, theirs):
    step = a_step(own=own, theirs=theirs)
    got = float(made(own, theirs)(step)["explanations"].detach())
    cams = (
        grad_cam(step.features["cam"], step.gradients["cam"]),
        grad_cam(step.teacher_features["cam"], step.teacher_gradients["cam"]),
    )
    large = [
        nn.functional.interpolate(m[:, None], (4, 4), mode="bilinear").flatten(1) for m in cams
    ]
    a, b = (m.detach().numpy() for m in large)
    want = 1 - np.mean([x @ y / np.linalg.norm(x) / np.linalg.norm(y) for x, y in zip(a, b)])  # noqa: B905
    assert got == pytest.approx(want, rel=1e-10)


def test_the_scale_of_an_explanation_does_not_count():
    step, objective = a_step(), made(alpha=0)
    before = float(objective(step)["loss"].detach())
    step.gradients["cam"] = 7 * step.gradients["cam"]
    step.teacher_features["cam"] = step.teacher_features["cam"] / 5
    assert float(objective(step)["loss"].detach()) == pytest.approx(before, rel=1e-10)


# Degenerate


@pytest.mark.parametrize("situation", ["one image", "zero maps", "zero gradients", "bf16", "equal"])
def test_degenerate_situations(situation):
    n = 1 if situation == "one image" else 4
    step = a_step(n, theirs=OWN, dtype=torch.float32)
    with torch.no_grad():
        if situation == "zero maps":
            step.features["cam"].zero_()
        if situation == "zero gradients":
            step.gradients["cam"].zero_()
    if situation == "equal":
        step.teacher_features["cam"] = step.features["cam"].detach().clone()
        step.teacher_gradients["cam"] = step.gradients["cam"].detach().clone()
        step.teacher_logits = step.logits.detach().clone()
    low = situation == "bf16"
    if low:
        for part in (step.features, step.gradients, step.teacher_features, step.teacher_gradients):
            part["cam"] = part["cam"].detach().bfloat16().requires_grad_(part is not None)
    with torch.autocast("cpu", torch.bfloat16, enabled=low):
        got = made(theirs=OWN)(step)
    got["loss"].backward()
    assert all(torch.isfinite(value) for value in got.values())
    for x in (step.logits, step.features["cam"], step.gradients["cam"]):
        assert x.grad is None or torch.isfinite(x.grad).all()
    if situation.startswith("zero"):
        assert float(got["explanations"].detach()) == pytest.approx(1)
    if situation == "equal":
        assert float(got["loss"].detach()) == pytest.approx(0, abs=1e-6)


def test_without_weights_nothing_is_learned():
    step = a_step()
    made(gamma=0, alpha=0, beta=0)(step)["loss"].backward()
    assert not any(x.grad.any() for x in (step.logits, step.features["cam"], step.gradients["cam"]))


@pytest.mark.parametrize(
    ("own", "theirs", "said"),
    [((8,), THEIRS, "student.* with layer"), (OWN, (5, 1, 1), "teacher.* with teacher_layer")],
)
def test_layers_without_places_are_refused(own, theirs, said):
    with pytest.raises(KdpipeError, match=said):
        made(own, theirs)


# What student and teacher are asked for


def tokens() -> Network:
    """Four tokens of an image, and one in front of them, as a vision transformer has them."""

    class Body(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patches = nn.Conv2d(3, 6, 6, stride=6)
            self.mix = nn.Linear(6, 6)
            self.head = nn.Linear(6, CLASSES)

        def forward(self, x):
            grid = self.patches(x).flatten(2).transpose(1, 2)
            x = self.mix(torch.cat([grid.mean(1, keepdim=True), grid], 1))
            return self.head((x * x).mean(1))

    torch.manual_seed(2)
    layers = Layers("mix", "mix", "mix", ("mix",), prefix=1)
    return Network(Body(), layers, (0.3,) * 3, (0.25,) * 3)


def answered(network: Network, teacher: Network, images: torch.Tensor) -> Step:
    """The step of a batch, as training fills it in before the objective sees it."""
    ref = resolve(objectives, "e2kd")
    with torch.no_grad():
        own, theirs = (n.eval().with_features(images, ("cam",))[1] for n in (network, teacher))
    shapes = ({"cam": tuple(x["cam"].shape[1:])} for x in (own, theirs))
    objective = ref.make(Setting(torch.arange(8) % CLASSES, CLASSES, *shapes))
    step = Step(torch.arange(len(images)), torch.arange(len(images)) % CLASSES, torch.empty(0))
    asked(LiveTeacher(teacher, ("cam",), 8, explained=("cam",)), step, images, None)
    Student(network, objective, OwnStream(0, torch.device("cpu")))(images, step)
    return step


def tail(network: Network, output: torch.Tensor) -> torch.Tensor:
    """The logits as a function of the output of the layer that is explained."""
    if hasattr(network.body, "head"):
        return network.body.head((output * output).mean(1))
    return network.body[3:](output)  # behind the ReLU


@pytest.mark.parametrize("kind", ["maps", "tokens"])
def test_gradients_are_those_of_the_class_that_the_teacher_decides_for(kind):
    images = as_float(some_images().pixels[:5]).double()
    network = (small_network() if kind == "maps" else tokens()).double()
    teacher = (small_network(seed=11) if kind == "maps" else tokens()).double()
    step = answered(network, teacher, images)
    decided = step.teacher_logits.argmax(1)
    pairs = (
        (network, step.gradients, step.features),
        (
            teacher,
            step.teacher_gradients,
            step.teacher_features,
        ),
    )
    for one, slopes, features in pairs:
        raw = one.with_features(images, ("cam",), as_maps=False)[1]["cam"].detach()
        assert torch.equal(features["cam"].detach(), one.maps("cam", raw))
        want = torch.zeros_like(raw)
        for k, c in enumerate(decided):  # in evaluation mode images do not depend on each other
            want[k] = torch.func.jacrev(lambda x, one=one: tail(one, x))(raw[k : k + 1])[0, c, 0]
        torch.testing.assert_close(slopes["cam"].detach(), one.maps("cam", want))
    assert slopes["cam"].requires_grad is False
    assert step.gradients["cam"].requires_grad


def test_training_goes_through_the_explanation_of_the_student():
    """The slope of the loss in a weight behind the layer, by finite differences."""
    images = as_float(some_images().pixels[:4]).double()
    network, teacher = tokens().double(), small_network(seed=11).double()
    weight = network.body.head.weight

    def loss() -> torch.Tensor:
        shapes = {"cam": (6, 2, 2)}, {"cam": (6, 5, 5)}
        objective = E2KD(E2KDOptions(alpha=0), Setting(torch.arange(4), CLASSES, *shapes))
        return objective(answered(network, teacher, images))["loss"]

    (slope,) = torch.autograd.grad(loss(), weight)
    assert slope.abs().max() > 1e-4
    for at in ((0, 0), (2, 3)):
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                weight[at] += sign * 1e-6
            values.append(float(loss().detach()))
            with torch.no_grad():
                weight[at] -= sign * 1e-6
        assert (values[0] - values[1]) / 2e-6 == pytest.approx(float(slope[at]), abs=1e-6)


def test_a_student_learns_to_look_where_its_teacher_does(monkeypatch):
    def objective(beta: float) -> E2KD:
        return made((6, 5, 5), (6, 5, 5), alpha=0.1, beta=beta)

    recipe = Recipe(epochs=8, batch_size=8, optimizer="adamw", lr=0.01, schedule="constant")
    found = []
    for beta in (5.0, 5.0, 0.0):
        monkeypatch.setattr("helpers.small_training.make_objective", lambda *_: objective(beta))  # noqa: B023
        teacher = LiveTeacher(small_network(seed=11), ("cam",), 8, explained=("cam",))
        found.append(fitted("e2kd", recipe, teacher=teacher))
    assert_same_state(found[0][0], found[1][0])
    with_it, _, without = (history[-1]["train_explanations"] for _, _, history in found)
    assert with_it < 0.8 * without


def test_a_teacher_without_gradient_is_refused_in_a_sentence():
    teacher = small_network()
    teacher.body.register_forward_hook(lambda m, i, out: out.detach())
    step = Step(torch.arange(2), torch.arange(2), torch.empty(0))
    with pytest.raises(KdpipeError, match="a network gives no gradient"):
        asked(
            LiveTeacher(teacher, ("cam",), explained=("cam",)), step, torch.rand(2, 3, 12, 12), None
        )


def test_a_layer_that_the_answer_does_not_depend_on_is_named():
    teacher = small_network()
    teacher.body.add_module("aside", nn.Identity())
    body = teacher.body

    class Beside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.main, self.aside = body, nn.Conv2d(3, 2, 3)

        def forward(self, x):
            self.aside(x)
            return self.main(x)

    network = Network(Beside(), Layers("aside", "aside", "aside", ()), (0.3,) * 3, (0.2,) * 3)
    step = Step(torch.arange(2), torch.arange(2), torch.empty(0))
    with pytest.raises(KdpipeError, match="does not depend on the layer 'cam'"):
        asked(
            LiveTeacher(network, ("cam",), explained=("cam",)), step, torch.rand(2, 3, 12, 12), None
        )


def test_no_table_holds_explanations():
    raw = small()
    raw["compute"]["teacher_outputs"] = "always"
    raw["pairs"]["one"]["methods"] = {
        "e2kd": {"layer": "penultimate", "teacher_layer": "penultimate"}
    }
    study = parse(raw)
    pair = study.pairs["one"]
    assert not tabulates(pair.methods["e2kd"])
    assert not teacher_outputs(study, pair).wanted
    assert not tabulates(resolve(objectives, {"name": "sum", "terms": ["kl", "e2kd"]}))
