"""Agreement with the teacher and KL(teacher ‖ student) against torchmetrics and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torchmetrics.classification import MulticlassAccuracy
from torchmetrics.regression import KLDivergence

from kdpipe.probes.fidelity import Fidelity, FidelityOptions


def measure(kit, student, teacher):
    n, k = np.shape(student)
    classes = [f"class {i}" for i in range(k)]
    bench = kit.bench(
        kit.numbered(n), [0] * n, kit.answers(student), kit.answers(teacher), classes=classes
    )
    return Fidelity(FidelityOptions(set="set", domains=["grey"])).measure(bench)


@pytest.mark.parametrize("n_classes", [2, 10])
@pytest.mark.parametrize("spread", [0.1, 3.0, 30.0])
def test_fidelity_is_that_of_torchmetrics(kit, n_classes, spread):
    rng = np.random.default_rng(n_classes)
    student, teacher = rng.normal(0, spread, (2, 50, n_classes)).astype(np.float32)
    records = measure(kit, student, teacher)
    p, q = (torch.from_numpy(x).double().log_softmax(1) for x in (teacher, student))
    reference = KLDivergence(log_prob=True, reduction="none").double()(p, q)
    np.testing.assert_allclose(
        kit.values(records, "predictive_kl"), reference.numpy(), rtol=1e-10, atol=1e-12
    )
    agreement = MulticlassAccuracy(num_classes=n_classes, average="micro")
    expected = float(agreement(torch.from_numpy(student), torch.from_numpy(teacher).argmax(1)))
    assert kit.values(records, "top1_agreement").mean() == pytest.approx(expected, abs=1e-7)


def test_kl_of_two_coins_by_hand(kit):
    """Teacher 3/4 : 1/4, student 1/2 : 1/2; the other way round it would be another number."""
    student, teacher = [[0.0, 0.0]], [[math.log(3), 0.0]]
    there = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    back = 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)
    (value,) = kit.values(measure(kit, student, teacher), "predictive_kl")
    assert value == pytest.approx(there, rel=1e-6)
    assert abs(there - back) > 0.01


def test_a_network_is_faithful_to_itself_and_only_a_constant_one_is_a_constant_away(kit):
    rng = np.random.default_rng(1)
    teacher = rng.normal(0, 2, (20, 4)).astype(np.float32)
    # Logits are defined up to a constant per image.
    itself = measure(kit, teacher + rng.normal(size=(20, 1)).astype(np.float32), teacher)
    assert kit.values(itself, "predictive_kl") == pytest.approx(0, abs=1e-6)
    assert kit.values(itself, "top1_agreement").tolist() == [1] * 20
    constant = measure(kit, np.full((20, 4), 7.0), teacher)
    p = np.exp(teacher.astype(float)) / np.exp(teacher.astype(float)).sum(1, keepdims=True)
    entropy = -(p * np.log(p)).sum(1)
    assert kit.values(constant, "predictive_kl") == pytest.approx(math.log(4) - entropy, abs=1e-6)


def test_certain_networks_that_disagree_are_far_apart_and_not_infinitely(kit):
    records = measure(kit, [[0.0, 1e4]], [[1e4, 0.0]])
    assert kit.values(records, "predictive_kl") == pytest.approx([1e4])
    assert kit.values(records, "top1_agreement").tolist() == [0]


def test_one_class_leaves_nothing_to_disagree_on(kit):
    records = measure(kit, [[3.0], [1.0]], [[-2.0], [0.0]])
    assert kit.values(records, "predictive_kl").tolist() == [0, 0]
    assert kit.values(records, "top1_agreement").tolist() == [1, 1]
