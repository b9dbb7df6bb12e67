"""Objectives that compare how the images of a batch relate to each other."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from kdpipe.distill.base import ObjectiveOptions, OneLayer, Step, full_precision

ZERO = 1e-12
"""Norms up to it count as 0."""


class RelationOptions(ObjectiveOptions):
    layer: str = Field("penultimate", description="Layer of the student.")
    teacher_layer: str = Field("penultimate", description="Layer of the teacher.")


class Relation(OneLayer):
    """Base of objectives over the features of all images of a batch, in full precision.

    The widths of student and teacher may differ, because only relations between images are
    compared. Of several processes each compares the images of its own share of the batch. A batch
    of one image has no relations: its terms are 0, and so is their gradient.
    """

    Options: type[Any] = RelationOptions

    def forward(self, step: Step) -> dict[str, Tensor]:
        o = self.options
        # Relations of features with 8 bits are differences of nearly equal numbers.
        with torch.autocast(step.logits.device.type, enabled=False):
            student = full_precision(step.features[o.layer]).flatten(1)
            teacher = full_precision(step.teacher_features[o.teacher_layer]).flatten(1)
            weighted = self.terms(student, teacher)
        if len(student) == 1:
            weighted = {name: (weight, 0 * term) for name, (weight, term) in weighted.items()}
        terms = {name: term for name, (_, term) in weighted.items()}
        distilled = torch.stack([weight * term for weight, term in weighted.values()]).sum()
        return self.with_labels(step, distilled, **terms)

    @abstractmethod
    def terms(self, student: Tensor, teacher: Tensor) -> dict[str, tuple[float, Tensor]]:
        """Weight and value of each term by name; features (n, width) of student and teacher."""


def directions(x: Tensor, eps: float = 0.0) -> Tensor:
    """x / (‖x‖ + eps) along the last dimension; 0, without a gradient, where ‖x‖ is 0.

    At 0 the norm has no derivative, and that of a quotient with a tiny divisor is huge.
    """
    with torch.no_grad():
        some = torch.linalg.vector_norm(x, dim=-1, keepdim=True) > ZERO
    x = torch.where(some, x, 1.0)
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return torch.where(some, x / (norm + eps), 0.0)
