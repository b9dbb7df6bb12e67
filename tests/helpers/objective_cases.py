"""Objectives against recorded numbers, and in situations where a formula may divide by zero.

``tests/parity/objectives/<objective>.json`` holds cases with ``id``, ``inputs``, ``parameters``,
``loss`` and ``grad``: numbers in double precision that public implementations gave.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from helpers.places import REPOSITORY
from kdpipe.distill import objectives
from kdpipe.distill.base import Objective, Setting, Step

FOLDER = REPOSITORY / "tests" / "parity" / "objectives"
Shape = tuple[int, ...]
Shapes = Mapping[str, tuple[Shape, Shape]]
"""By layer: the shapes of its outputs in student and teacher, without the batch."""

SITUATIONS = (
    *("one image", "one class", "constant outputs", "zero outputs"),
    *("student equals teacher", "zero weights", "bf16"),
)


def recorded(objective: str, case: str) -> dict[str, Any]:
    """One case of an objective; its arrays are tensors, float64 or int64, in lists as recorded."""
    cases = json.loads((FOLDER / f"{objective}.json").read_text(encoding="utf-8"))["cases"]
    (found,) = (c for c in cases if c["id"] == case)
    arrays = ("inputs", "parameters", "grad")
    return found | {part: {k: _tensors(v) for k, v in found[part].items()} for part in arrays}


def _tensors(numbers: Any) -> Any:
    """A tensor, or a list of them where arrays of several shapes are listed."""
    try:
        return torch.tensor(numbers, dtype=None if _whole(numbers) else torch.float64)
    except ValueError:
        return [_tensors(part) for part in numbers]


def _whole(numbers: Any) -> bool:
    if isinstance(numbers, list):
        return all(map(_whole, numbers))
    return isinstance(numbers, int)


def with_gradients(given: Any) -> Any:
    """Leaf tensors that gradients are for, of a tensor or a list of them."""
    if isinstance(given, Tensor):
        return given.clone().requires_grad_()
    return [with_gradients(part) for part in given]


def assert_same(
    loss: Tensor, want: float, leaves: Iterable[Tensor], grads: Iterable[Tensor], rel: float = 1e-9
) -> None:
    """The loss, and its gradient in each of ``leaves``, deviate by at most ``rel``: gradients
    relative to the largest number of each."""
    leaves, grads = list(leaves), list(grads)
    assert float(loss.detach()) == pytest.approx(want, rel=rel, abs=1e-15)
    got = torch.autograd.grad(loss, leaves)
    assert len(leaves) == len(grads) > 0
    for mine, theirs in zip(got, grads, strict=True):
        scale = max(float(theirs.abs().max()), 1e-12)
        torch.testing.assert_close(mine, theirs, rtol=0, atol=rel * scale)


def survives(
    objective: str,
    situation: str,
    shapes: Shapes | None = None,
    options: Mapping[str, Any] | None = None,
    weights: Iterable[str] = ("gamma", "beta"),
    **setting: Any,
) -> dict[str, Tensor]:
    """Assert that loss and gradients are finite in one of SITUATIONS; returns the terms.

    ``weights``: the options that are 0 under ``zero weights``, where loss and gradients are 0.
    Under ``bf16`` the loss is that of single precision up to 5 %. ``setting``: what else the
    objective has to know (see :class:`Setting`).
    """
    assert situation in SITUATIONS
    cls, shapes, given = objectives.get(objective), shapes or {}, dict(options or {})
    if situation == "zero weights":
        given |= dict.fromkeys(weights, 0.0)
    classes = 1 if situation == "one class" else 3
    labels = torch.arange(12) % classes
    own, theirs = ({name: pair[k] for name, pair in shapes.items()} for k in (0, 1))

    def made() -> Objective:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return cls(cls.Options(**given), Setting(labels, classes, own, theirs, **setting))

    low = situation == "bf16"
    step = _step(situation, shapes, labels, classes)
    made_for = made()
    with torch.random.fork_rng(devices=[]), torch.autocast("cpu", torch.bfloat16, enabled=low):
        torch.manual_seed(1)
        terms = made_for(step)
    terms["loss"].backward()
    grads = [x.grad for x in (step.logits, *step.features.values(), *made_for.parameters())]
    assert all(bool(torch.isfinite(x).all()) for x in terms.values()), terms
    assert all(bool(torch.isfinite(x).all()) for x in grads if x is not None)
    if situation == "zero weights":
        assert float(terms["loss"].detach()) == 0
        assert not any(bool(x.any()) for x in grads if x is not None)
    if low:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            exact = float(made()(_step("bf16 in full", shapes, labels, classes))["loss"].detach())
        assert float(terms["loss"].detach()) == pytest.approx(exact, rel=0.05)
    return terms


def _step(situation: str, shapes: Shapes, labels: Tensor, classes: int) -> Step:
    n = 1 if situation == "one image" else 6
    rng = np.random.default_rng(5)

    def draw(*shape: int) -> Tensor:
        x = torch.from_numpy(rng.normal(size=(n, *shape)).astype(np.float32))
        if situation == "constant outputs":
            return torch.full_like(x, 2.0)
        if situation == "zero outputs":
            return torch.zeros_like(x)
        # Both sides of a comparison start from numbers that bf16 can hold.
        x = x.bfloat16() if situation.startswith("bf16") else x
        return x.float() if situation == "bf16 in full" else x

    logits, teacher_logits = draw(classes), draw(classes)
    drawn = {name: (draw(*own), draw(*theirs)) for name, (own, theirs) in shapes.items()}
    if situation == "student equals teacher":
        teacher_logits = logits.clone()
        drawn = {k: (a, a.clone() if a.shape == b.shape else b) for k, (a, b) in drawn.items()}
    return Step(
        rows=torch.arange(n),
        labels=labels[:n],
        logits=logits.requires_grad_(),
        features={name: own.requires_grad_() for name, (own, _) in drawn.items()},
        teacher_logits=teacher_logits,
        teacher_features={name: theirs for name, (_, theirs) in drawn.items()},
    )
