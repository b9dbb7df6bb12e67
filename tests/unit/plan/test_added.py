"""What objectives add to the cost of a training, against what torch counts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from helpers.small_study import small
from kdpipe.base.plugin import resolve
from kdpipe.distill import objectives
from kdpipe.distill.base import Attack
from kdpipe.models import builders
from kdpipe.models.shared.reused import ReusedClassifier, ReusedSettings
from kdpipe.plan.added import attack_passes, gradient_flops, reusing
from kdpipe.plan.cost import cost
from kdpipe.plan.counting import counted, without_weights
from kdpipe.plan.estimate import Estimate
from kdpipe.plan.plan import Plan
from kdpipe.study.schema import parse
from kdpipe.training.attack import ascend

CNN = resolve(builders, "mnist_cnn")


def estimate(method: dict[str, Any], objective: Any = None) -> Estimate:
    raw = small()
    raw["pairs"] = {"one": {**raw["pairs"]["one"], "methods": {"m": method}, "seeds": [5]}}
    raw["compute"]["teacher_outputs"] = "never"
    if objective is not None:
        raw["models"]["big"]["objective"] = objective
    return Estimate(Plan(parse(raw)))


def distilled(found: Estimate) -> float:
    return found.training_flops(found.plan.jobs["students/one/m/seed5"].settings)  # type: ignore[arg-type]


def test_a_step_of_an_attack_is_two_forward_passes():
    network = without_weights(CNN, 10, 28)
    images = torch.zeros(1, 3, 28, 28, device="meta")
    counter = FlopCounterMode(display=False)
    with counter:  # which cannot follow a leaf into a module
        ascend(lambda x: network(1 * x).sum(), images, 0.1, 0.1, 5, images)
    assert counter.get_total_flops() == 5 * 2 * counted(network, CNN, 28).flops
    assert attack_passes(Attack(0.1, 0.1, 5)) == 5 * 2 + 3
    assert attack_passes(Attack(0.1, 0.1, 5, instead=True)) == 5 * 2
    assert attack_passes(None) == 0


def test_attacks_are_counted_in_the_plan():
    kl = estimate({"objective": "kl"})
    forward = kl.size(CNN, "few").flops
    images = kl.training_images(kl.plan.study.models["small"].data)
    assert distilled(kl) == 2 * images * (3 + 1) * forward
    for name, passes in (("ard", 2 * 4 + 3), ("rslad", 2 * 4 + 3)):
        more = estimate({"objective": name, "steps": 4})
        assert distilled(more) - distilled(kl) == 2 * images * passes * forward
    alone = estimate({"objective": "adversarial_training", "steps": 4})
    assert distilled(alone) == 2 * images * (3 + 2 * 4) * forward
    idle = estimate({"objective": "ard", "alpha": 0})
    assert distilled(idle) == distilled(kl)


def test_an_adversarially_trained_model_is_counted():
    plain = estimate({"objective": "kl"})
    robust = estimate({"objective": "kl"}, {"name": "adversarial_training", "steps": 7})
    jobs = [e.plan.jobs["models/big/seed0"].settings for e in (plain, robust)]
    one, other = plain.training_flops(jobs[0]), robust.training_flops(jobs[1])  # type: ignore[arg-type]
    assert other == pytest.approx(one / 3 * (3 + 2 * 7))
    assert cost(robust).flops > cost(plain).flops


def test_gradients_of_layers_are_counted():
    """Of mnist_cnn behind conv2 there are two linear layers."""
    found = gradient_flops(CNN, 28, 10, ("conv2",), trained=False)
    body = without_weights(CNN, 10, 28).body
    linear = [m for m in body.modules() if isinstance(m, torch.nn.Linear)]
    assert found == sum(2 * m.in_features * m.out_features for m in linear) > 0
    assert gradient_flops(CNN, 28, 10, ("conv2",), trained=True) == 3 * found
    layers = {"layer": "conv2", "teacher_layer": "conv2"}
    kl, e2kd = estimate({"objective": "kl"}), estimate({"objective": "e2kd", **layers})
    images = kl.training_images(kl.plan.study.models["small"].data)
    assert distilled(e2kd) - distilled(kl) == 2 * images * (3 + 1) * found


def test_a_reused_classifier_and_its_projector_are_counted():
    ref = resolve(objectives, "simkd")
    reuse, reads = ref.cls.reuses(ref.options), ref.cls.classifier_reads(ref.options)
    net = resolve(builders, {"name": "cifar_resnet", "arch": "resnet20"})
    found = reusing(net, net, reuse, reads, 32, 10)
    alone = counted(without_weights(net, 10, 32), net, 32)
    made = ReusedClassifier(ReusedSettings.between("x", (64, 8, 8), (64, 8, 8), 2, 10))
    assert found.parameters == alone.parameters + sum(p.numel() for p in made.parameters())
    convolutions = 2 * 64 * (64 * 32 + 32 * 32 * 9 + 32 * 64)
    assert found.flops == alone.flops + convolutions + 2 * 64 * 10


def test_the_plan_counts_students_with_a_reused_classifier():
    raw = small()
    net = {"name": "cifar_resnet", "arch": "resnet20"}
    for model in raw["models"].values():
        model["network"] = net
    raw["data"]["sets"]["few"]["size"] = 32
    one = raw["pairs"]["one"]
    raw["pairs"] = {"one": {**one, "methods": {"simkd": None, "kl": None}, "seeds": [5]}}
    found = Estimate(Plan(parse(raw)))
    students = [found.plan.jobs[f"students/one/{m}/seed5"].settings for m in ("simkd", "kl")]
    simkd, kl = (found.trained(s) for s in students)  # type: ignore[arg-type]
    assert simkd.parameters > kl.parameters
    assert simkd.flops > kl.flops
