"""Soft labels without a teacher: the law of their targets, in closed form and by simulation.

The objective does not show its targets, but its gradient does: for one step of n images,
∂/∂z = τ·(σ(z/τ) − p)/n. From p the noise follows: 0.15·log(p_i/p_j) is normal with mean 1 (i the
label, j not) or 0 (neither) and variance 2·0.2, whatever the other classes do. Tests of
distribution reject at p < 1e-4; moments are compared within 4 standard errors.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from helpers import loops
from kdpipe.distill.base import Setting, Step
from kdpipe.distill.soft_label import SoftLabel, SoftLabelOptions

N, CLASSES = 4000, 4
LABELS = np.arange(N) % CLASSES


def objective(**options: float) -> SoftLabel:
    return SoftLabel(SoftLabelOptions(**options), Setting(torch.tensor([0, 1]), CLASSES, {}, {}))


def step(logits: torch.Tensor, labels: np.ndarray = LABELS, teacher=None) -> Step:
    return Step(torch.arange(len(labels)), torch.as_tensor(labels), logits, teacher_logits=teacher)


def targets(tau: float = 1.0, seed: int = 0, **options: float) -> np.ndarray:
    """Target probabilities of ``N`` images, from the gradient of the loss."""
    torch.manual_seed(seed)
    z = torch.zeros(N, CLASSES, dtype=torch.float64, requires_grad=True)
    objective(gamma=0, alpha=1, temperature=tau, **options)(step(z))["loss"].backward()
    return 1 / CLASSES - z.grad.numpy() * N / tau


def noise(p: np.ndarray, label_temperature: float = 0.15) -> np.ndarray:
    """Differences of the noise of the three classes after the label and that of the label."""
    log_p = np.log(p)
    turned = np.array([np.roll(row, -y) for row, y in zip(log_p, LABELS, strict=True)])
    return label_temperature * (turned[:, 1:] - turned[:, :1]) + 1


def test_noise_is_normal_with_variance_0_2():
    found = noise(targets())
    for other in range(CLASSES - 1):
        # A difference of two independent draws: variance 0.2 + 0.2.
        law = stats.norm(0, math.sqrt(0.4))
        assert stats.kstest(found[:, other], law.cdf).pvalue > 1e-4
        # The tails: a difference of two uniform draws has an excess kurtosis of -0.6.
        assert stats.kurtosistest(found[:, other]).pvalue > 1e-4
    # All three subtract the same draw of the label's own class.
    off = np.corrcoef(found.T)[np.triu_indices(3, 1)]
    assert off == pytest.approx([0.5] * 3, abs=4 * 0.75 / math.sqrt(N))


@pytest.mark.parametrize(("variance", "label_temperature"), [(0.2, 0.15), (0.05, 0.5), (1, 1)])
def test_options_are_the_variance_and_the_temperature_of_the_label(variance, label_temperature):
    p = targets(variance=variance, label_temperature=label_temperature)
    found = noise(p, label_temperature)
    assert found.mean() == pytest.approx(0, abs=4 * math.sqrt(2 * variance / N))
    assert found.var() == pytest.approx(2 * variance, rel=4 * math.sqrt(2 / N))


def test_moments_of_the_targets():
    """Mean and variance of the label's probability and of another class's."""
    rng = np.random.default_rng(0)
    drawn = np.eye(CLASSES)[0] + math.sqrt(0.2) * rng.standard_normal((400_000, CLASSES))
    e = np.exp((drawn - drawn.max(1, keepdims=True)) / 0.15)
    want = e / e.sum(1, keepdims=True)
    got = np.array([np.roll(row, -y) for row, y in zip(targets(), LABELS, strict=True)])
    np.testing.assert_allclose(got.sum(1), 1, rtol=1e-9)
    for k in (0, 1):
        error = 4 * want[:, k].std() / math.sqrt(N)
        assert got[:, k].mean() == pytest.approx(want[:, k].mean(), abs=error)
        assert got[:, k].var() == pytest.approx(want[:, k].var(), rel=0.12)


def test_every_image_and_step_has_a_noise_of_its_own():
    first, second = noise(targets(seed=0)), noise(targets(seed=1))
    bound = 4 / math.sqrt(N)
    assert abs(np.corrcoef(first[:-1, 0], first[1:, 0])[0, 1]) < bound
    assert abs(np.corrcoef(first[:, 0], second[:, 0])[0, 1]) < bound
    torch.manual_seed(0)
    made, z = objective(), torch.zeros(N, CLASSES)
    losses = {float(made(step(z))["loss"]) for _ in range(3)}
    assert len(losses) == 3


@pytest.mark.parametrize("tau", [1, 3])
def test_value_against_the_loops(tau):
    """The loss of the reconstructed targets, as τ²·KL to a student that is not constant."""
    student = np.random.default_rng(1).normal(size=(N, CLASSES))
    torch.manual_seed(0)
    options = {"gamma": 0.2, "alpha": 0.7, "temperature": tau}
    got = objective(**options)(step(torch.tensor(student)))
    p = targets()
    found = [
        loops.divergence(np.log(row), loops.log_softmax(z, tau))
        for row, z in zip(p, student, strict=True)
    ]
    want = tau**2 * math.fsum(found) / N
    ce = loops.cross_entropy(student, LABELS)
    # 1e-7: p comes from a gradient, by subtraction.
    assert float(got["soft_label"]) == pytest.approx(want, rel=1e-7)
    assert float(got["loss"]) == pytest.approx(0.2 * ce + 0.7 * want, rel=1e-7)


def test_no_teacher_is_read():
    z = torch.randn(N, CLASSES, dtype=torch.float64)
    losses = []
    for teacher in (None, torch.randn(N, CLASSES), torch.full((N, CLASSES), float("nan"))):
        torch.manual_seed(0)
        losses.append(float(objective()(step(z, teacher=teacher))["loss"]))
    assert losses[0] == losses[1] == losses[2]


@pytest.mark.parametrize(("n", "classes"), [(1, 4), (3, 1)])
def test_one_image_and_one_class(n, classes):
    labels = np.zeros(n, dtype=int)
    got = objective(gamma=1, alpha=1)(step(torch.zeros(n, classes), labels))
    assert float(got["labels"]) == pytest.approx(math.log(classes), abs=1e-7)
    assert float(got["soft_label"]) >= 0
    assert classes > 1 or float(got["loss"]) == 0


def test_zero_weights_and_extreme_logits():
    z = torch.tensor([[1e4, -1e4, 0, 0]] * 3, requires_grad=True)
    labels = np.array([0, 1, 2])
    objective(gamma=0, alpha=0)(step(z, labels))["loss"].backward()
    assert z.grad.abs().max() == 0
    got = objective()(step(z, labels))["loss"]
    got.backward()
    assert torch.isfinite(got)
    assert torch.isfinite(z.grad).all()
