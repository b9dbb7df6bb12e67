"""Objectives on feature maps have the same gradient each time on a GPU."""

from __future__ import annotations

import warnings

import pytest
import torch

from kdpipe.distill import objectives
from kdpipe.distill.base import Setting, Step
from kdpipe.training.compute import Compute

SHAPES = {
    "a": ((16, 32, 32), (24, 28, 28)),
    "b": ((32, 16, 16), (48, 14, 14)),
    "penultimate": ((32,), (48,)),
}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", ["at", "nst", "vid", "fsp", "reviewkd"])
def test_the_same_gradient_twice(device, name, precision):
    compute = Compute(device=device, precision=precision)
    compute.start()
    torch.manual_seed(0)
    cls = objectives.get(name)
    own, theirs = ({k: pair[side] for k, pair in SHAPES.items()} for side in (0, 1))
    named = cls.Options(layers=["a", "b"], teacher_layers=["a", "b"])
    objective = cls(named, Setting(torch.arange(64), 64, own, theirs)).to(device)
    drawn = [
        {k: torch.randn(64, *shape, device=device) for k, shape in side.items()}
        for side in (own, theirs)
    ]
    logits, labels = torch.randn(64, 64, device=device), torch.arange(64, device=device)
    found = []
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*deterministic implementation.*")
        for _ in range(2):
            features = {k: x.clone().requires_grad_() for k, x in drawn[0].items()}
            with compute.autocast():
                step = Step(labels, labels, logits, features, logits, drawn[1])
                loss = objective(step)["loss"]
            read = [features[k] for k in objective.reads[0]]
            found.append(torch.autograd.grad(loss, read))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
