"""Losses and gradients that public implementations gave, in tests/parity/objectives/NAME.json.

Each file names repository, path and commit of its numbers, and a case those that differ. Inputs
were drawn at random and rounded; everything was computed in double precision.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from helpers.places import REPOSITORY
from kdpipe.distill.base import Step

FOLDER = REPOSITORY / "tests" / "parity" / "objectives"
TOLERANCE = 1e-9  # relative, in double precision


@dataclass(frozen=True)
class Published:
    """One case: inputs, parameters, gradients by name; the loss, and its terms."""

    inputs: dict[str, Tensor]
    parameters: dict[str, Tensor]
    grad: dict[str, Tensor]
    loss: float
    terms: dict[str, Any]


def published(objective: str, case: str) -> Published:
    """The case of that name, in double precision."""
    cases = json.loads((FOLDER / f"{objective}.json").read_text())["cases"]
    (found,) = (c for c in cases if c["id"] == case)

    def tensors(of: str) -> dict[str, Tensor]:
        given = found.get(of, {})
        return {k: torch.tensor(v, dtype=torch.float64) for k, v in given.items()}

    return Published(
        tensors("inputs"),
        tensors("parameters"),
        tensors("grad"),
        found["loss"],
        found.get("terms", {}),
    )


def step_of(
    features: Mapping[str, Tensor],
    teacher_features: Mapping[str, Tensor],
    logits: Tensor | None = None,
    teacher_logits: Tensor | None = None,
) -> Step:
    """A batch with these outputs, all of class 0; logits are 0 where there are none."""
    first = next(iter(features.values()))
    n = len(first)
    return Step(
        rows=torch.arange(n),
        labels=torch.zeros(n, dtype=torch.long),
        logits=torch.zeros(n, 3, dtype=first.dtype) if logits is None else logits,
        features=dict(features),
        teacher_logits=teacher_logits,
        teacher_features=dict(teacher_features),
    )
