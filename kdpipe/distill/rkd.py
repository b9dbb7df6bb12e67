"""Relational distillation: distances and angles between images are those of the teacher."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from kdpipe.distill.base import objectives
from kdpipe.distill.shared.relations import Relation, RelationOptions, directions

NEAR = 1e-12
"""Squared distance below which two images lie at one place; as in the authors' code."""


class RKDOptions(RelationOptions):
    distance: float = Field(25.0, ge=0, description="Weight of the distances between two images.")
    angle: float = Field(50.0, ge=0, description="Weight of the angles between three images.")
    normalise: bool = Field(
        False,
        description="Divide the features of each image by their L2 norm first, as mmrazor does and "
        "the authors do for embeddings.",
    )


@objectives.register("rkd")
class RKD(Relation):
    """γ·CE + distance·L_D + angle·L_A (Park, Kim, Lu & Cho 2019, Sec. 3.2).

    L_D: Huber loss of d_t/μ_t − d_s/μ_s, mean over the n² pairs of a batch; d is the Euclidean
    distance of two images, μ its mean over the pairs that differ. L_A: Huber loss of the difference
    of cosines of the angle at image j between images i and k, mean over the n³ triplets. Weights
    25 and 50 are those of RepDistiller and mdistiller for penultimate vectors, which they leave as
    they are; KD_Lib weighs both terms 0.5.

    Two images at one place are 10⁻⁶ apart and show no direction, both without a gradient.
    Memory: n²·width + n³ numbers for each of student and teacher.
    """

    Options = RKDOptions
    title = "RKD"
    place = 61

    def terms(self, student: Tensor, teacher: Tensor) -> dict[str, tuple[float, Tensor]]:
        o = self.options
        if o.normalise:
            student, teacher = directions(student), directions(teacher)
        own, theirs = relations(student), relations(teacher)
        distance, angle = (F.smooth_l1_loss(a, b) for a, b in zip(own, theirs, strict=True))
        return {"distance": (o.distance, distance), "angle": (o.angle, angle)}


def relations(x: Tensor) -> tuple[Tensor, Tensor]:
    """Distances (n, n) in units of their mean, and cosines (n, n, n) of the angles at the first
    image, of the features (n, width)."""
    between = x[None] - x[:, None]
    square = between.square().sum(2)
    # Clamped before the root, whose derivative at 0 is infinite.
    distance = square.clamp(min=NEAR).sqrt() * (1 - torch.eye(len(x), device=x.device))
    mean = distance.sum() / max(1, len(x) * (len(x) - 1))
    way = directions(torch.where((square > NEAR)[..., None], between, 0.0))
    return distance / mean.clamp(min=NEAR), way @ way.transpose(1, 2)
