"""SimKD against the authors' implementation, plain sums and its limits.

Tolerance 1e-9 relative in double precision.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from helpers.objective_cases import SITUATIONS, assert_same, recorded, survives
from kdpipe.base.errors import KdpipeError
from kdpipe.base.layer_names import PROJECTED
from kdpipe.distill.base import Setting, Step
from kdpipe.distill.simkd import SimKD, SimKDOptions
from kdpipe.models.shared.reused import ReusedClassifier, ReusedSettings

NAMES = {"transfer": "projector", "teacher_classifier": "classifier"}
"""Modules, as they are called in the recorded cases and here."""


def make(own: tuple[int, ...], theirs: tuple[int, ...], **options: float) -> SimKD:
    setting = Setting(torch.arange(3), 3, {PROJECTED: own}, {"cam": theirs})
    return SimKD(SimKDOptions(**options), setting)


def step(own: Tensor, theirs: Tensor, classes: int = 3) -> Step:
    n = len(own)
    return Step(
        torch.arange(n),
        torch.zeros(n, dtype=torch.long),
        torch.zeros(n, classes, dtype=own.dtype),
        {PROJECTED: own},
        torch.zeros(n, classes),
        {"cam": theirs},
    )


@pytest.mark.parametrize(
    ("case", "factor"),
    [("factor2_same_size", 2), ("factor4_student_larger", 4), ("factor2_teacher_larger", 2)],
)
def test_simkd_of_the_authors(case, factor):
    want = recorded("simkd", case)
    own, theirs = want["inputs"]["feat_s"].requires_grad_(), want["inputs"]["feat_t"]
    shapes = tuple(own.shape[1:]), tuple(theirs.shape[1:])
    settings = ReusedSettings.between("cam", *shapes, factor, 5)
    head = ReusedClassifier(settings).double()
    names = {k: k.replace(k.split(".")[0], NAMES[k.split(".")[0]]) for k in want["parameters"]}
    head.load_state_dict({names[k]: v for k, v in want["parameters"].items()}, strict=False)
    seen = []
    head.projector.register_forward_hook(lambda _m, _i, output: seen.append(output))
    logits = head(own)
    objective = make(tuple(seen[0].shape[1:]), shapes[1])
    loss = objective(step(seen[0], theirs))["loss"]
    learned = dict(head.named_parameters())
    parts = [k for k in names if k.startswith("transfer")]
    leaves = [own, *(learned[names[k]] for k in parts)]
    grads = [want["grad"]["feat_s"], *(want["grad"][f"parameter:{k}"] for k in parts)]
    prediction = torch.tensor(want["terms"]["prediction_logits"], dtype=torch.float64)
    torch.testing.assert_close(logits, prediction, rtol=1e-9, atol=1e-12)
    assert_same(loss, want["loss"], leaves, grads)


@pytest.mark.parametrize(
    ("own", "theirs"), [((3, 4, 4), (3, 4, 4)), ((3, 2, 2), (3, 4, 4)), ((3,), (3,))]
)
def test_value_and_gradient_are_those_of_plain_sums(own, theirs):
    rng = np.random.default_rng(0)
    x, t = rng.normal(size=(5, *own)), rng.normal(size=(5, *theirs))
    features = torch.tensor(x, requires_grad=True)
    loss = make(own, theirs, beta=1.7)(step(features, torch.tensor(t)))["loss"]
    loss.backward()
    if own[1:] != theirs[1:]:  # means of blocks of 2 × 2
        t = t.reshape(5, 3, 2, 2, 2, 2).mean((3, 5))
    want = 1.7 * math.fsum(((x - t) ** 2).ravel()) / x.size
    assert float(loss.detach()) == pytest.approx(want, rel=1e-9)
    np.testing.assert_allclose(features.grad.numpy(), 2 * 1.7 * (x - t) / x.size, rtol=1e-9)


def test_the_cross_entropy_is_that_of_the_logits():
    """Which are the teacher's classifier's own: the objective only weighs them."""
    own = torch.ones(4, 3, 2, 2)
    terms = make((3, 2, 2), (3, 2, 2), gamma=0.5, beta=2)(step(own, own + 1, classes=4))
    assert float(terms["features"]) == pytest.approx(1)
    assert float(terms["loss"]) == pytest.approx(0.5 * math.log(4) + 2)


def test_other_channels_than_the_teachers_are_refused():
    with pytest.raises(KdpipeError, match="the projector gives 4 channels and the teacher"):
        make((4, 2, 2), (3, 2, 2))


@pytest.mark.parametrize("situation", SITUATIONS)
def test_degenerate_batches(situation):
    shapes = {PROJECTED: ((6, 4, 4), (6, 4, 4)), "cam": ((6, 4, 4), (6, 5, 5))}
    survives("simkd", situation, shapes)


def test_features_of_short_floats_are_compared_in_full_precision():
    """Squares of 8 bits, summed in 8 bits, would be off by percents."""
    rng = torch.Generator().manual_seed(0)
    own, theirs = (torch.randn(8, 6, 4, 4, generator=rng).bfloat16() for _ in range(2))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = make((6, 4, 4), (6, 4, 4))(step(own, theirs))["loss"]
    assert float(got) == pytest.approx(float((own.double() - theirs).square().mean()), rel=1e-6)
