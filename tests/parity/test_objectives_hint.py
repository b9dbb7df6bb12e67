"""Hint against plain loops, SciPy's image zoom and autograd's own check.

Romero et al. (2015), Eq. 3. Tolerance 1e-10 relative in double precision.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from helpers import loops
from kdpipe.distill.base import Setting, Step
from kdpipe.distill.hint import Hint, HintOptions
from kdpipe.distill.shared.connector import Connector

Shape = tuple[int, ...]
PAIRS: list[tuple[Shape, Shape]] = [
    ((3, 4, 4), (2, 4, 4)),
    ((3, 4, 4), (2, 2, 2)),
    ((2, 3, 5), (4, 7, 6)),
    ((2, 7, 6), (3, 3, 5)),
    ((1, 1, 1), (1, 3, 3)),
    ((5,), (4,)),
]
"""Shapes of student and teacher: equal, smaller, larger and mixed resolutions, and vectors."""


def resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear, with the pixels' centres at (i + ½)·scale − ½ and the border repeated."""

    def place(i: int, new: int, old: int) -> tuple[int, int, float]:
        at = max((i + 0.5) * old / new - 0.5, 0.0)
        low = min(math.floor(at), old - 1)
        return low, min(low + 1, old - 1), at - low

    found = np.empty((height, width))
    for i in range(height):
        top, bottom, v = place(i, height, image.shape[0])
        for j in range(width):
            left, right, u = place(j, width, image.shape[1])
            above = (1 - u) * image[top, left] + u * image[top, right]
            below = (1 - u) * image[bottom, left] + u * image[bottom, right]
            found[i, j] = (1 - v) * above + v * below
    return found


def regressed(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, target: Shape) -> np.ndarray:
    """r(f_s) of one image."""
    if len(target) == 1:
        return np.array(
            [
                sum(w * v for w, v in zip(row, x, strict=True)) + b
                for row, b in zip(weight, bias, strict=True)
            ]
        )
    maps = [resize(channel, *target[1:]) for channel in x]
    found = np.empty(target)
    for o, i, j in np.ndindex(*target):
        found[o, i, j] = bias[o] + sum(weight[o, c] * maps[c][i, j] for c in range(len(maps)))
    return found


def hint(student, teacher, weight, bias, reduction: str) -> float:
    """½‖f_t − r(f_s)‖² or ½ of its mean over the elements; mean over the images."""
    total = 0.0
    for x, t in zip(student, teacher, strict=True):
        guess = regressed(x, weight, bias, t.shape)
        squares = [(float(a) - float(b)) ** 2 for a, b in zip(t.flat, guess.flat, strict=True)]
        total += math.fsum(squares) / (len(squares) if reduction == "mean" else 1)
    return 0.5 * total / len(student)


def make(shape: Shape, target: Shape, **options) -> Hint:
    torch.manual_seed(0)
    setting = Setting(torch.tensor([0, 1]), 3, {"hint": shape}, {"hint": target})
    return Hint(HintOptions(**options), setting).double()


def features(shape: Shape, n: int, seed: int) -> torch.Tensor:
    return torch.tensor(np.random.default_rng(seed).normal(size=(n, *shape)))


def step(student: torch.Tensor, teacher: torch.Tensor) -> Step:
    n = len(student)
    zeros = torch.zeros(n, 3, dtype=student.dtype)
    labels = torch.zeros(n, dtype=torch.long)
    return Step(torch.arange(n), labels, zeros, {"hint": student}, None, {"hint": teacher})


def parameters(objective: Hint) -> tuple[np.ndarray, np.ndarray]:
    weight, bias = (p.detach().numpy() for p in objective.regressor.map.parameters())
    return weight.reshape(weight.shape[:2]), bias


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize(("shape", "target"), PAIRS)
def test_hint_value(shape, target, n, reduction):
    objective = make(shape, target, gamma=0.3, beta=1.7, reduction=reduction)
    student, teacher = features(shape, n, 1), features(target, n, 2)
    with torch.no_grad():
        got = objective(step(student, teacher))
    want = hint(student.numpy(), teacher.numpy(), *parameters(objective), reduction)
    assert float(got["hint"]) == pytest.approx(want, rel=1e-10)
    assert float(got["loss"]) == pytest.approx(0.3 * math.log(3) + 1.7 * want, rel=1e-10)


@pytest.mark.parametrize(("old", "new"), [((3, 5), (6, 10)), ((4, 3), (7, 8)), ((2, 2), (5, 5))])
def test_enlarging_agrees_with_scipy(old, new):
    """ndimage.zoom(order=1, grid_mode=True) has the same centres; its border is repeated too."""
    image = np.random.default_rng(3).normal(size=old)
    regressor = Connector((1, *old), (1, *new), "hint").double()
    with torch.no_grad():
        regressor.map.weight.fill_(1)
        regressor.map.bias.fill_(0)
        got = regressor(torch.tensor(image)[None, None])[0, 0].numpy()
    factors = [b / a for a, b in zip(old, new, strict=True)]
    want = ndimage.zoom(image, factors, order=1, mode="nearest", grid_mode=True)
    np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize(("shape", "target"), PAIRS[:1] + PAIRS[2:3] + PAIRS[-1:])
def test_hint_gradients(shape, target, reduction):
    """Of the student's features by autograd's check; of the regressor against the loops."""
    objective = make(shape, target, gamma=0, beta=1, reduction=reduction)
    student, teacher = features(shape, 2, 1).requires_grad_(), features(target, 2, 2)
    assert torch.autograd.gradcheck(lambda x: objective(step(x, teacher))["loss"], student)
    objective(step(student, teacher))["loss"].backward()
    weight, bias = parameters(objective)
    x, t = student.detach().numpy(), teacher.numpy()
    of_weight = loops.slope(lambda w: hint(x, t, w, bias, reduction), weight)
    of_bias = loops.slope(lambda b: hint(x, t, weight, b, reduction), bias)
    got = [p.grad.numpy() for p in objective.regressor.map.parameters()]
    np.testing.assert_allclose(got[0].reshape(weight.shape), of_weight, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(got[1], of_bias, rtol=1e-6, atol=1e-7)


def test_a_perfect_regressor_has_no_loss_and_no_gradient():
    """Teacher equal to student under an identity map; constant features among them."""
    objective = make((3, 4, 4), (3, 4, 4), gamma=0)
    with torch.no_grad():
        objective.regressor.map.weight.copy_(torch.eye(3)[:, :, None, None])
        objective.regressor.map.bias.zero_()
    student = features((3, 4, 4), 2, 1)
    student[1] = 5.0
    student.requires_grad_()
    got = objective(step(student, student.detach().clone()))
    got["loss"].backward()
    assert float(got["hint"].detach()) == 0
    assert student.grad.abs().max() == 0


def test_sum_is_the_mean_times_the_elements_of_the_teachers_map():
    student, teacher = features((3, 4, 4), 2, 1), features((2, 5, 3), 2, 2)
    values = [
        float(make((3, 4, 4), (2, 5, 3), reduction=r)(step(student, teacher))["hint"].detach())
        for r in ("mean", "sum")
    ]
    assert values[1] == pytest.approx(2 * 5 * 3 * values[0], rel=1e-10)


def test_zero_weight_takes_the_regressor_out():
    objective = make((5,), (4,), gamma=0, beta=0)
    student = features((5,), 2, 1).requires_grad_()
    objective(step(student, features((4,), 2, 2)))["loss"].backward()
    assert student.grad.abs().max() == 0
    assert all(p.grad.abs().max() == 0 for p in objective.parameters())


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_extreme_features_stay_finite(reduction):
    objective = make((3, 4, 4), (2, 4, 4), reduction=reduction).float()
    student = 1e4 * features((3, 4, 4), 2, 1).float().requires_grad_()
    teacher = -1e4 * features((2, 4, 4), 2, 2).float()
    got = objective(step(student, teacher))
    got["loss"].backward()
    assert torch.isfinite(got["loss"])
    assert all(torch.isfinite(p.grad).all() for p in objective.parameters())


def test_hint_under_autocast():
    """In bf16 the value is off by its rounding (2⁻⁸), the regressor's gradient by 1 %."""
    student, teacher = features((6, 5, 5), 16, 1).float(), features((4, 5, 5), 16, 2).float()
    exact, mixed = make((6, 5, 5), (4, 5, 5)), make((6, 5, 5), (4, 5, 5)).float()
    want = exact(step(student.double(), teacher.double()))
    want["loss"].backward()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = mixed(step(student.bfloat16(), teacher.bfloat16()))
    got["loss"].backward()
    assert float(got["hint"].detach()) == pytest.approx(float(want["hint"].detach()), rel=2**-8)
    for p, q in zip(mixed.parameters(), exact.parameters(), strict=True):
        assert (p.grad - q.grad).norm() / q.grad.norm() < 0.01
