"""SRRL against public implementations, plain loops and its limits.

Tolerance 1e-9 relative in double precision.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from helpers.objective_cases import SITUATIONS, assert_same, recorded, survives
from kdpipe.distill.base import Setting, Step
from kdpipe.distill.srrl import SRRL, SRRLOptions

NAMES = {
    "Connectors.0.weight": "connector.map.weight",
    "Connectors.1.weight": "connector.norm.weight",
    "Connectors.1.bias": "connector.norm.bias",
    "teacher_classifier.weight": "classifier.weight",
    "teacher_classifier.bias": "classifier.bias",
}
"""Learned parameters, as they are called in the recorded cases and here."""


def classifier(width: int, classes: int) -> nn.Linear:
    torch.manual_seed(1)
    return nn.Linear(width, classes)


def make(own: Tensor, theirs: Tensor, classes: int, **options: Any) -> SRRL:
    shapes = {"cam": tuple(own.shape[1:])}, {"penultimate": tuple(theirs.shape[1:])}
    torch.manual_seed(0)
    reads = classifier(theirs.shape[1], classes)
    setting = Setting(torch.arange(3), classes, *shapes, teacher_classifier=reads)
    return SRRL(SRRLOptions(**options), setting).double()


def step(own: Tensor, theirs: Tensor, logits: Tensor) -> Step:
    n = len(own)
    return Step(
        torch.arange(n),
        torch.zeros(n, dtype=torch.long),
        torch.zeros_like(logits),
        {"cam": own},
        logits,
        {"penultimate": theirs},
    )


@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize(("case", "alpha"), [("official_w1", 1), ("official_w5", 5)])
def test_srrl_of_the_authors(case, alpha, pooled):
    """``pooled``: of a teacher's map only the mean over places is read, so a table of vectors
    gives the same loss."""
    want = recorded("srrl", case)
    own, theirs = want["inputs"]["feat_s"].requires_grad_(), want["inputs"]["feat_t"]
    theirs = theirs.mean((2, 3)) if pooled else theirs
    objective = make(own, theirs, 5, gamma=0, alpha=alpha)
    given = {NAMES[name]: value for name, value in want["parameters"].items()}
    objective.load_state_dict(given, strict=False)
    terms = objective(step(own, theirs, want["inputs"]["logits_t"]))
    learned = dict(objective.named_parameters())
    names = {NAMES[k]: k for k in want["parameters"] if "classifier" not in k}
    leaves = [own, *(learned[name] for name in names)]
    grads = [want["grad"]["feat_s"], *(want["grad"][f"parameter:{k}"] for k in names.values())]
    assert_same(terms["loss"], want["loss"], leaves, grads)
    assert float(terms["features"].detach()) == pytest.approx(want["terms"]["feature"], rel=1e-9)
    regression = want["terms"]["softmax_regression"]
    assert float(terms["regression"].detach()) == pytest.approx(regression, rel=1e-9)


def loop(own, theirs, logits, weight, scale, shift, w, b, alpha, beta) -> float:
    """α and β terms, one image and one number at a time; ``own`` (n, channels, places)."""
    n, channels, places = own.shape
    width = len(weight)
    mapped = [
        [
            [math.fsum(weight[o, c] * own[i, c, p] for c in range(channels)) for p in range(places)]
            for o in range(width)
        ]
        for i in range(n)
    ]
    vectors = np.zeros((n, width))
    for o in range(width):
        values = [mapped[i][o][p] for i in range(n) for p in range(places)]
        mean = math.fsum(values) / len(values)
        variance = math.fsum((v - mean) ** 2 for v in values) / len(values)
        for i in range(n):
            normal = [
                scale[o] * (v - mean) / math.sqrt(variance + 1e-5) + shift[o] for v in mapped[i][o]
            ]
            vectors[i, o] = math.fsum(max(v, 0.0) for v in normal) / places
    features = math.fsum(
        (vectors[i, o] - theirs[i, o]) ** 2 for i in range(n) for o in range(width)
    ) / (n * width)
    classes = len(w)
    regression = math.fsum(
        (math.fsum(w[k, o] * vectors[i, o] for o in range(width)) + b[k] - logits[i, k]) ** 2
        for i in range(n)
        for k in range(classes)
    ) / (n * classes)
    return beta * features + alpha * regression


@pytest.mark.parametrize("shape", [(3, 2, 2), (4,)])
def test_value_follows_the_loops(shape):
    """Of maps and of vectors: the connector before or after the mean over places."""
    rng = np.random.default_rng(3)
    own, theirs, logits = (
        rng.normal(size=(5, *shape)),
        rng.normal(size=(5, 6)),
        rng.normal(size=(5, 4)),
    )
    objective = make(*map(torch.tensor, (own, theirs)), 4, gamma=0, alpha=0.7, beta=1.3)
    with torch.no_grad():
        objective.connector.norm.weight.copy_(torch.tensor(rng.normal(size=6)))
        objective.connector.norm.bias.copy_(torch.tensor(rng.normal(size=6)))
        got = objective(step(*map(torch.tensor, (own, theirs, logits))))["loss"]
    state = {k: v.detach().numpy() for k, v in objective.state_dict().items()}
    want = loop(
        own.reshape(5, shape[0], -1),
        theirs,
        logits,
        state["connector.map.weight"][:, :, 0, 0],
        state["connector.norm.weight"],
        state["connector.norm.bias"],
        state["classifier.weight"],
        state["classifier.bias"],
        0.7,
        1.3,
    )
    assert float(got) == pytest.approx(want, rel=1e-9)


SHAPES = {"cam": ((3, 4, 4), (3, 4, 4)), "penultimate": ((6,), (6,))}
VECTORS = {"penultimate": ((6,), (5,))}


@pytest.mark.parametrize("situation", SITUATIONS)
@pytest.mark.parametrize("layer", ["cam", "penultimate"])
def test_degenerate_batches(situation, layer):
    shapes = SHAPES if layer == "cam" else VECTORS
    width, classes = shapes["penultimate"][1][0], 1 if situation == "one class" else 3
    survives(
        "srrl",
        situation,
        shapes,
        {"layer": layer},
        ("gamma", "beta", "alpha"),
        teacher_classifier=classifier(width, classes),
    )


def test_the_teachers_classifier_is_not_trained():
    own, theirs, logits = torch.randn(4, 3, 2, 2), torch.randn(4, 6), torch.randn(4, 5)
    own, theirs, logits = (x.double() for x in (own, theirs, logits))
    objective = make(own, theirs, 5)
    objective(step(own, theirs, logits))["loss"].backward()
    trained = {name for name, p in objective.named_parameters() if p.grad is not None}
    assert trained == {n for n, _ in objective.named_parameters() if n.startswith("connector")}


def test_weights_belong_to_their_terms():
    rng = torch.Generator().manual_seed(0)
    own, theirs, logits = (
        torch.randn(*s, generator=rng).double() for s in ((4, 3, 2, 2), (4, 6), (4, 5))
    )
    got = make(own, theirs, 5, gamma=0.5, beta=2, alpha=3)(step(own, theirs, logits))
    values = {name: float(value.detach()) for name, value in got.items()}
    want = 0.5 * math.log(5) + 2 * values["features"] + 3 * values["regression"]
    assert values["loss"] == pytest.approx(want)


def test_regression_under_autocast_is_computed_in_full_precision():
    """Given a student whose features the connector leaves nearly as they are, logits of bf16 would
    be off by 2⁻⁸ of their size; here the loss is what rounding of the connector leaves."""
    rng = torch.Generator().manual_seed(0)
    theirs = torch.rand(16, 6, generator=rng).double() + 1
    objective = make(theirs, theirs, 4, gamma=0, beta=0, layer="cam").float().eval()
    with torch.no_grad():
        objective.connector.map.weight.copy_(torch.eye(6)[:, :, None, None])
        objective.connector.norm.running_var.fill_(1 - 1e-5)
        objective.classifier.weight.mul_(100)
    short = theirs.bfloat16()
    logits = objective.classifier(short.float()).detach()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = objective(step(short, short, logits))["loss"]
    assert float(loss.detach()) < 1e-6 * float(logits.square().mean())
