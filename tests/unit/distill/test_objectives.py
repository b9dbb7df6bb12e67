"""Labels, KL, Hint and soft labels against a plain NumPy version in double precision."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some
from scipy import stats

from kdpipe.base.errors import KdpipeError
from kdpipe.distill import objectives
from kdpipe.distill.base import Setting, Step
from kdpipe.distill.hint import Hint, HintOptions
from kdpipe.distill.kl import KL, KLOptions, tempered_kl
from kdpipe.distill.labels import Labels, LabelsOptions
from kdpipe.distill.shared.connector import Connector
from kdpipe.distill.soft_label import SoftLabel, SoftLabelOptions


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> float:
    return float(-np.log(softmax(logits)[np.arange(len(labels)), labels]).mean())


def reference_kl(teacher: np.ndarray, student: np.ndarray, tau: float) -> float:
    p, q = softmax(teacher / tau), softmax(student / tau)
    return float(tau**2 * (p * np.log(p / q)).sum(1).mean())


def setting(labels=(0, 1, 2, 0), n_classes=3, shapes=None, teacher_shapes=None) -> Setting:
    return Setting(torch.tensor(labels), n_classes, shapes or {}, teacher_shapes or {})


def some_logits(seed: int, n: int = 5, classes: int = 3) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    teacher, student = 3 * rng.normal(size=(2, n, classes))
    return teacher, student, rng.integers(classes, size=n)


def step_of(student, labels, teacher=None) -> Step:
    return Step(
        rows=torch.arange(len(labels)),
        labels=torch.as_tensor(labels),
        logits=torch.as_tensor(student),
        teacher_logits=None if teacher is None else torch.as_tensor(teacher),
    )


# Labels


def test_labels_is_cross_entropy():
    _, student, labels = some_logits(0)
    objective = Labels(LabelsOptions(), setting())
    assert float(objective(step_of(student, labels))["loss"]) == pytest.approx(
        cross_entropy(student, labels), rel=1e-12
    )


# KL


@given(seed=some.integers(0, 1000), tau=some.floats(0.5, 20))
@settings(max_examples=30, deadline=None)
def test_kl_value_and_gradient_follow_the_closed_form(seed, tau):
    teacher, student, _ = some_logits(seed)
    logits = torch.tensor(student, requires_grad=True)
    got = tempered_kl(torch.tensor(teacher), logits, tau)
    got.backward()
    assert float(got.detach()) == pytest.approx(
        reference_kl(teacher, student, tau), rel=1e-8, abs=1e-10
    )
    want = tau * (softmax(student / tau) - softmax(teacher / tau)) / len(student)
    np.testing.assert_allclose(logits.grad.numpy(), want, rtol=1e-7, atol=1e-10)


def test_gradient_of_kl_keeps_its_size_at_high_temperature():
    """For τ → ∞ it tends to (z_s − z_t, both centred) / classes, which needs the factor τ²."""
    teacher, student, _ = some_logits(1)
    logits = torch.tensor(student, requires_grad=True)
    tempered_kl(torch.tensor(teacher), logits, 1e4).backward()
    difference = student - teacher
    want = (difference - difference.mean(1, keepdims=True)) / student.shape[1] / len(student)
    np.testing.assert_allclose(logits.grad.numpy(), want, rtol=1e-2, atol=1e-4)


@given(tau=some.floats(0.5, 20))
@settings(max_examples=20, deadline=None)
def test_kl_of_equal_logits_is_zero_and_so_is_its_gradient(tau):
    teacher, _, _ = some_logits(2)
    # A constant added to all logits of an image changes no probability.
    logits = torch.tensor(teacher + 5.0, requires_grad=True)
    got = tempered_kl(torch.tensor(teacher), logits, tau)
    got.backward()
    assert abs(float(got.detach())) < 1e-9
    assert logits.grad.abs().max() < 1e-9


def test_kl_is_from_the_teacher_to_the_student():
    teacher, student, _ = some_logits(3)
    got = float(tempered_kl(torch.tensor(teacher), torch.tensor(student), 2.0))
    assert got == pytest.approx(reference_kl(teacher, student, 2.0))
    assert got != pytest.approx(reference_kl(student, teacher, 2.0), rel=0.01)


@pytest.mark.parametrize(("gamma", "alpha"), [(0.1, 0.9), (1.0, 0.0), (0.0, 2.5)])
def test_kl_objective_weighs_labels_by_gamma_and_teacher_by_alpha(gamma, alpha):
    teacher, student, labels = some_logits(4)
    objective = KL(KLOptions(gamma=gamma, alpha=alpha, temperature=4), setting())
    got = objective(step_of(student, labels, teacher))
    ce, kl = cross_entropy(student, labels), reference_kl(teacher, student, 4)
    assert float(got["labels"]) == pytest.approx(ce)
    assert float(got["kl"]) == pytest.approx(kl)
    assert float(got["loss"]) == pytest.approx(gamma * ce + alpha * kl)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["kl", "soft_label"])
def test_soft_targets_of_short_floats_are_compared_in_full_precision(name, dtype):
    """Autocast on a CPU leaves log_softmax in 8 bits, where KL is off by tens of percent."""
    torch.manual_seed(0)
    teacher = (3 * torch.randn(64, 10)).to(dtype)
    student = (teacher + 0.3 * torch.randn(64, 10)).to(dtype)
    objective = objectives.get(name)(objectives.get(name).Options(), setting())
    labels = torch.zeros(64, dtype=torch.long)
    torch.manual_seed(1)
    want = objective(step_of(student.float(), labels, teacher.float()))
    torch.manual_seed(1)
    with torch.autocast("cpu", dtype=dtype):
        got = objective(step_of(student, labels, teacher))
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-6)


# Hint


def hint_step(student: torch.Tensor, teacher: torch.Tensor) -> Step:
    n = len(student)
    return Step(
        rows=torch.arange(n),
        labels=torch.zeros(n, dtype=torch.long),
        logits=torch.zeros(n, 3, dtype=student.dtype),
        features={"hint": student},
        teacher_features={"hint": teacher},
    )


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_hint_is_half_the_squared_distance_to_the_regressed_feature_map(reduction):
    torch.manual_seed(0)
    student = torch.randn(4, 3, 5, 5, dtype=torch.float64)
    teacher = torch.randn(4, 2, 5, 5, dtype=torch.float64)
    objective = Hint(
        HintOptions(gamma=0.3, beta=1.7, reduction=reduction),
        setting(shapes={"hint": (3, 5, 5)}, teacher_shapes={"hint": (2, 5, 5)}),
    ).double()
    with torch.no_grad():
        got = objective(hint_step(student, teacher))

    weight = objective.regressor.map.weight.detach().numpy()[:, :, 0, 0]
    bias = objective.regressor.map.bias.detach().numpy()
    guess = np.einsum("oc,nchw->nohw", weight, student.numpy()) + bias[:, None, None]
    square = (teacher.numpy() - guess) ** 2
    per_image = square.reshape(4, -1).mean(1) if reduction == "mean" else square.sum((1, 2, 3))
    want = 0.5 * per_image.mean()
    assert float(got["hint"]) == pytest.approx(want, rel=1e-10)
    assert float(got["loss"]) == pytest.approx(0.3 * np.log(3) + 1.7 * want, rel=1e-10)


def test_regressor_resizes_bilinearly_before_its_convolution():
    """From 4×4 to 2×2 with centres aligned, every output is the mean of a 2×2 block."""
    regressor = Connector((3, 4, 4), (5, 2, 2), "hint").double()
    assert tuple(regressor.map.weight.shape) == (5, 3, 1, 1)
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    small = x.numpy().reshape(2, 3, 2, 2, 2, 2).mean((3, 5))
    weight = regressor.map.weight.detach().numpy()[:, :, 0, 0]
    want = np.einsum("oc,nchw->nohw", weight, small)
    want += regressor.map.bias.detach().numpy()[:, None, None]
    np.testing.assert_allclose(regressor(x).detach().numpy(), want, rtol=1e-9, atol=1e-12)


def test_regressor_of_vectors_is_linear():
    regressor = Connector((6,), (4,), "hint").double()
    x = torch.randn(3, 6, dtype=torch.float64)
    weight, bias = (p.detach().numpy() for p in regressor.map.parameters())
    np.testing.assert_allclose(regressor(x).detach().numpy(), x.numpy() @ weight.T + bias)


@pytest.mark.parametrize(
    ("shape", "target"), [((8, 4, 8), (5,)), ((5,), (8, 4, 4)), ((7, 5), (5,))]
)
def test_a_map_and_a_vector_cannot_be_regressed_onto_each_other(shape, target):
    with pytest.raises(KdpipeError, match="hint"):
        Connector(shape, target, "hint")


def test_hint_trains_student_and_regressor_but_not_the_teacher():
    student = torch.randn(4, 6, requires_grad=True)
    teacher = torch.randn(4, 5)
    objective = Hint(HintOptions(), setting(shapes={"hint": (6,)}, teacher_shapes={"hint": (5,)}))
    step = hint_step(student, teacher)
    step.logits = torch.zeros(4, 3, requires_grad=True)
    objective(step)["loss"].backward()
    assert student.grad.abs().sum() > 0
    assert all(p.grad.abs().sum() > 0 for p in objective.parameters())
    assert teacher.grad is None


# CRD


# Soft labels


def test_soft_label_without_noise_is_kl_to_a_tempered_one_hot():
    _, student, labels = some_logits(5)
    options = SoftLabelOptions(gamma=0.2, alpha=0.7, variance=0, temperature=3)
    got = SoftLabel(options, setting())(step_of(student, labels))
    one_hot = np.eye(3)[labels]
    p, q = softmax(one_hot / 0.15), softmax(student / 3)
    want = 9 * (p * np.log(p / q)).sum(1).mean()
    assert float(got["soft_label"]) == pytest.approx(want)
    assert float(got["loss"]) == pytest.approx(0.2 * cross_entropy(student, labels) + 0.7 * want)


def test_soft_label_noise_has_the_variance_asked_for():
    """The mean of the loss over draws against NumPy's own draws from N(0, 0.2)."""
    n = 20000
    labels = torch.zeros(n, dtype=torch.long)
    student = torch.tensor([[1.0, 0.0, -1.0]], dtype=torch.float64).repeat(n, 1)
    torch.manual_seed(0)
    got = float(SoftLabel(SoftLabelOptions(), setting())(step_of(student, labels))["soft_label"])

    def expected(variance: float) -> float:
        rng = np.random.default_rng(0)
        noisy = np.eye(3)[[0]] + np.sqrt(variance) * rng.normal(size=(200_000, 3))
        p, q = softmax(noisy / 0.15), softmax(student[:1].numpy())
        return float((p * np.log(p / q)).sum(1).mean())

    assert got == pytest.approx(expected(0.2), rel=0.02)
    assert got != pytest.approx(expected(0.2**2), rel=0.05)


def test_soft_label_noise_is_drawn_anew_at_every_step():
    _, student, labels = some_logits(6)
    objective = SoftLabel(SoftLabelOptions(), setting())
    torch.manual_seed(0)
    first, second = (float(objective(step_of(student, labels))["loss"]) for _ in range(2))
    assert first != second


@pytest.mark.parametrize(
    ("name", "uses_teacher"),
    [("labels", False), ("soft_label", False), ("kl", True), ("hint", True), ("crd", True)],
)
def test_objectives_say_whether_they_need_a_teacher(name, uses_teacher):
    assert objectives.get(name).uses_teacher is uses_teacher


def test_noise_of_soft_labels_is_gaussian_with_the_variance_asked_for():
    """The gradient softmax(z) − target gives the targets away, image by image.

    Differences between two classes cancel the normalisation: they are 1 + e − e′ and e − e′ with
    e and e′ from N(0, 0.2).
    """
    n, classes = 30_000, 3
    torch.manual_seed(0)
    options = SoftLabelOptions(gamma=0, alpha=1, temperature=1)
    objective = SoftLabel(options, Setting(torch.arange(3), classes, {}, {}))
    labels = torch.arange(n) % classes
    logits = torch.zeros(n, classes, dtype=torch.float64, requires_grad=True)
    objective(Step(torch.arange(n), labels, logits))["loss"].backward()
    assert logits.grad is not None
    noisy = 0.15 * np.log(1 / classes - n * logits.grad.numpy())
    rows, k = np.arange(n), labels.numpy()
    signal = noisy[rows, k] - noisy[rows, (k + 1) % classes]
    between = noisy[rows, (k + 1) % classes] - noisy[rows, (k + 2) % classes]
    for values, mean in ((signal, 1.0), (between, 0.0)):
        assert values.mean() == pytest.approx(mean, abs=4 * np.sqrt(0.4 / n))
        assert values.var() == pytest.approx(0.4, rel=4 * np.sqrt(2 / n))
        assert stats.kstest((values - mean) / np.sqrt(0.4), "norm").pvalue > 1e-3
