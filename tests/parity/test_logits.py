"""Regression on logits against Ba & Caruana 2014, Eq. 1, in NumPy, and its gradient."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some

from kdpipe.distill.base import Setting, Step
from kdpipe.distill.logits import Logits, LogitsOptions


def terms(student, teacher, labels, **options) -> dict[str, torch.Tensor]:
    setting = Setting(torch.as_tensor(labels), student.shape[1], {}, {})
    step = Step(
        rows=torch.arange(len(labels)),
        labels=torch.as_tensor(labels),
        logits=torch.as_tensor(student),
        teacher_logits=torch.as_tensor(teacher),
    )
    return Logits(LogitsOptions(**options), setting)(step)


def eq_1(student: np.ndarray, teacher: np.ndarray) -> float:
    """1/(2T) Σ_t ‖g(x_t) − z_t‖² over the T images."""
    return sum(((g - z) ** 2).sum() for g, z in zip(student, teacher, strict=True)) / (
        2 * len(student)
    )


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> float:
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return float(-np.log(p[np.arange(len(labels)), labels]).mean())


@settings(max_examples=40, deadline=None)
@given(
    some.integers(0, 9999),
    some.integers(1, 9),
    some.integers(2, 6),
    some.floats(0, 3),
    some.floats(0, 3),
)
def test_loss_is_gamma_ce_plus_beta_eq_1(seed, n, classes, gamma, beta):
    rng = np.random.default_rng(seed)
    student, teacher = 3 * rng.normal(size=(2, n, classes))
    labels = rng.integers(classes, size=n)
    found = terms(student, teacher, labels, gamma=gamma, beta=beta)
    expected = eq_1(student, teacher)
    assert float(found["logits"]) == pytest.approx(expected, rel=1e-12)
    total = gamma * cross_entropy(student, labels) + beta * expected
    assert float(found["loss"]) == pytest.approx(total, rel=1e-9, abs=1e-12)


def test_gradient_is_the_difference_over_the_number_of_images():
    rng = np.random.default_rng(1)
    student, teacher = rng.normal(size=(2, 5, 3))
    z = torch.tensor(student, requires_grad=True)
    step = Step(torch.arange(5), torch.zeros(5).long(), z, teacher_logits=torch.tensor(teacher))
    Logits(LogitsOptions(), Setting(torch.zeros(5).long(), 3, {}, {}))(step)["loss"].backward()
    np.testing.assert_allclose(z.grad.numpy(), (student - teacher) / 5, rtol=1e-12)


def test_labels_count_for_nothing_by_default():
    rng = np.random.default_rng(2)
    student, teacher = rng.normal(size=(2, 6, 3))
    one, two = (terms(student, teacher, [k] * 6)["loss"] for k in (0, 2))
    assert float(one) == float(two)
