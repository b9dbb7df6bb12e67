"""Cross-entropy and KL against plain Python, scikit-learn, autograd's own check and limits.

Hinton, Vinyals & Dean (2015), Sec. 2 and 2.1. Tolerances: 1e-10 relative between two programs in
double precision; 1e-7 where one side is a finite difference (error of its step).
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import log_loss

from helpers import loops
from kdpipe.distill.base import Setting, Step
from kdpipe.distill.kl import KL, KLOptions, tempered_kl
from kdpipe.distill.labels import Labels, LabelsOptions

SETTING = Setting(torch.tensor([0, 1, 2]), 3, {}, {})
SHAPES = [(1, 2), (2, 10), (7, 3), (3, 1)]
"""Images by classes; one image and one class among them."""


def logits(n: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng([seed, n, classes])
    teacher, student = 3 * rng.normal(size=(2, n, classes))
    return teacher, student, rng.integers(classes, size=n)


def step(student: torch.Tensor, labels: np.ndarray, teacher: np.ndarray | None = None) -> Step:
    given = None if teacher is None else torch.as_tensor(teacher)
    return Step(torch.arange(len(labels)), torch.as_tensor(labels), student, teacher_logits=given)


def kl_loss(teacher: np.ndarray, student: torch.Tensor, labels: np.ndarray, **options: float):
    return KL(KLOptions(**options), SETTING)(step(student, labels, teacher))


# Labels


@pytest.mark.parametrize(("n", "classes"), SHAPES)
def test_labels_value_and_gradient(n, classes):
    _, student, labels = logits(n, classes)
    z = torch.tensor(student, requires_grad=True)
    loss = Labels(LabelsOptions(), SETTING)(step(z, labels))["loss"]
    loss.backward()
    assert float(loss.detach()) == pytest.approx(loops.cross_entropy(student, labels), rel=1e-10)
    want = loops.slope(lambda at: loops.cross_entropy(at, labels), student)
    np.testing.assert_allclose(z.grad.numpy(), want, atol=1e-7)


def test_labels_agree_with_scikit_learn():
    _, student, labels = logits(50, 4)
    probabilities = [[math.exp(v) for v in loops.log_softmax(row)] for row in student]
    got = float(Labels(LabelsOptions(), SETTING)(step(torch.tensor(student), labels))["loss"])
    assert got == pytest.approx(log_loss(labels, probabilities, labels=range(4)), rel=1e-10)


def test_labels_of_constant_logits_are_the_logarithm_of_the_classes():
    got = Labels(LabelsOptions(), SETTING)(step(torch.full((3, 8), 7.0), np.array([0, 7, 7])))
    assert float(got["loss"]) == pytest.approx(math.log(8), rel=1e-6)


# KL


@pytest.mark.parametrize("tau", [0.5, 1, 4, 8, 20])
@pytest.mark.parametrize(("n", "classes"), SHAPES)
def test_kl_value_and_gradient(n, classes, tau):
    teacher, student, _ = logits(n, classes)
    z = torch.tensor(student, requires_grad=True)
    got = tempered_kl(torch.tensor(teacher), z, tau)
    got.backward()
    want = loops.tempered_kl(teacher, student, tau)
    assert float(got.detach()) == pytest.approx(want, rel=1e-10, abs=1e-12)
    slope = loops.slope(lambda at: loops.tempered_kl(teacher, at, tau), student)
    np.testing.assert_allclose(z.grad.numpy(), slope, atol=1e-7)


def test_kl_passes_the_gradient_check_of_autograd():
    teacher, student, labels = logits(4, 5)
    z = torch.tensor(student, requires_grad=True)
    assert torch.autograd.gradcheck(lambda at: kl_loss(teacher, at, labels)["loss"], z)


@pytest.mark.parametrize("tau", [1, 4, 8])
def test_cross_entropy_in_place_of_kl_has_the_same_gradient(tau):
    """Ojha et al. write τ²·CE(σ(z_t/τ), σ(z_s/τ)); it is larger by τ² times the entropy of t."""
    teacher, student, _ = logits(6, 5)
    z = torch.tensor(student, requires_grad=True)
    kl = tempered_kl(torch.tensor(teacher), z, tau)
    (of_kl,) = torch.autograd.grad(kl, z)
    ce = tau**2 * F.cross_entropy(z / tau, (torch.tensor(teacher) / tau).softmax(1))
    (of_ce,) = torch.autograd.grad(ce, z)
    torch.testing.assert_close(of_kl, of_ce, rtol=1e-10, atol=1e-14)
    entropy = np.mean([loops.entropy(row, tau) for row in teacher])
    assert float((ce - kl).detach()) == pytest.approx(tau**2 * entropy, rel=1e-10)


def test_high_temperatures_match_logits():
    """Hinton et al., Eq. 4: the gradient tends to (z_s − z_t)/classes for logits of mean zero.

    The distance to that limit is of order 1/τ: it halves when τ doubles. The last step compares
    the value itself, which tends to ½‖z_s − z_t‖²/classes.
    """
    teacher, student, _ = logits(5, 6)
    teacher -= teacher.mean(1, keepdims=True)
    student -= student.mean(1, keepdims=True)
    limit = np.empty_like(student)
    for i, j in np.ndindex(student.shape):
        limit[i, j] = (student[i, j] - teacher[i, j]) / 6 / 5
    off = []
    for tau in (250, 500, 1000, 2000):
        z = torch.tensor(student, requires_grad=True)
        value = tempered_kl(torch.tensor(teacher), z, tau)
        value.backward()
        off.append(np.abs(z.grad.numpy() - limit).max())
    assert np.array(off[:-1]) / off[1:] == pytest.approx([2, 2, 2], rel=0.02)
    assert off[-1] < 1e-2 * np.abs(limit).max()
    square = sum((s - t) ** 2 for s, t in zip(student.flat, teacher.flat, strict=True))
    assert float(value.detach()) == pytest.approx(square / 2 / 6 / 5, rel=1e-2)


def test_kl_of_a_student_that_is_its_teacher_is_zero_with_zero_gradient():
    teacher, _, labels = logits(4, 5)
    z = torch.tensor(teacher, requires_grad=True)
    got = kl_loss(teacher, z, labels, gamma=0)
    got["loss"].backward()
    assert float(got["kl"].detach()) == pytest.approx(0, abs=1e-14)
    assert z.grad.abs().max() < 1e-14


def test_kl_to_constant_logits_is_what_the_teacher_lacks_in_entropy():
    teacher, student, _ = logits(4, 5)
    got = float(tempered_kl(torch.tensor(teacher), torch.zeros_like(torch.tensor(student)), 3.0))
    want = 9 * np.mean([math.log(5) - loops.entropy(row, 3.0) for row in teacher])
    assert got == pytest.approx(want, rel=1e-10)


def test_weights_scale_the_two_terms_and_their_gradients():
    teacher, student, labels = logits(4, 5)
    grads = {}
    for gamma, alpha in ((1, 0), (0, 1), (0.3, 0.7), (0, 0)):
        z = torch.tensor(student, requires_grad=True)
        kl_loss(teacher, z, labels, gamma=gamma, alpha=alpha, temperature=4)["loss"].backward()
        grads[gamma, alpha] = z.grad
    torch.testing.assert_close(grads[0.3, 0.7], 0.3 * grads[1, 0] + 0.7 * grads[0, 1])
    assert grads[0, 0].abs().max() == 0
    np.testing.assert_allclose(
        grads[1, 0], loops.slope(lambda at: loops.cross_entropy(at, labels), student), atol=1e-7
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_extreme_logits_stay_finite(dtype):
    """10⁴ for one class against another: KL is τ²·2·10⁴/τ, and CE 2·10⁴."""
    teacher = torch.tensor([[1e4, -1e4, 0], [-1e4, 1e4, 0]]).to(dtype)
    z = (-teacher).clone().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype != torch.float32):
        got = kl_loss(teacher, z, np.array([0, 1]), temperature=8)
    got["loss"].backward()
    top = float(teacher.max())
    assert float(got["kl"].detach()) == pytest.approx(8 * 2 * top, rel=1e-5)
    assert float(got["labels"].detach()) == pytest.approx(2 * top, rel=1e-2)
    assert torch.isfinite(z.grad).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_kl_under_autocast(dtype):
    """Given what the short floats hold, the value is as good as in single precision (1e-4, as the
    logarithms nearly cancel), and the gradient is off by its own rounding alone (0.4 %)."""
    teacher, student, labels = logits(32, 10)
    student = teacher + 0.1 * student
    t, z = torch.tensor(teacher).to(dtype), torch.tensor(student).to(dtype).requires_grad_()
    with torch.autocast("cpu", dtype=dtype):
        got = kl_loss(t, z, labels, gamma=0, alpha=1, temperature=8)
    got["loss"].backward()
    short = z.detach().double().requires_grad_()
    assert float(got["kl"].detach()) == pytest.approx(
        loops.tempered_kl(t.double().numpy(), short.detach().numpy(), 8), rel=1e-4
    )
    (want,) = torch.autograd.grad(tempered_kl(t.double(), short, 8.0), short)
    assert (z.grad.double() - want).norm() / want.norm() < 0.005
