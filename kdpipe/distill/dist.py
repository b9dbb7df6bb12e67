"""DIST: the student keeps the teacher's relations between classes and between images."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from kdpipe.distill.base import Objective, ObjectiveOptions, Step, full_precision, objectives


class DISTOptions(ObjectiveOptions):
    inter: float = Field(
        2.0, ge=0, description="Weight of the inter-class relation: an image's probabilities."
    )
    intra: float = Field(
        2.0, ge=0, description="Weight of the intra-class relation: a class's over the batch."
    )
    temperature: float = Field(
        1.0, gt=0, description="τ; the authors take 4 on CIFAR-100 and 1 on ImageNet."
    )


@objectives.register("dist")
class DIST(Objective):
    """γ·CE + β_inter·L_inter + β_intra·L_intra (Huang et al. 2022, Sec. 4).

    L_inter = τ²·(1 − mean over images of ρ(p_s[i, :], p_t[i, :])) and L_intra the same over the
    columns p[:, c], with Pearson's correlation ρ and p the softmax of logits/τ. The factor τ², and
    1e-8 added to the product of norms, are those of the authors' code for classification; their
    code for segmentation has no τ², torchdistill bounds the norms from below instead. Probabilities
    that do not vary, as a class's in a batch of one image, correlate with nothing: ρ = 0.
    """

    Options = DISTOptions
    title = "DIST"
    place = 70

    def forward(self, step: Step) -> dict[str, Tensor]:
        o = self.options
        assert step.teacher_logits is not None
        student, teacher = (
            torch.softmax(full_precision(z) / o.temperature, dim=1)
            for z in (step.logits, step.teacher_logits)
        )
        inter = o.temperature**2 * (1 - correlation(student, teacher).mean())
        intra = o.temperature**2 * (1 - correlation(student.T, teacher.T).mean())
        return self.with_labels(step, o.inter * inter + o.intra * intra, inter=inter, intra=intra)


def correlation(one: Tensor, two: Tensor) -> Tensor:
    """Pearson's correlation (n,) of the rows of two matrices (n, m); 0 for a constant row."""
    a, b = one - one.mean(1, keepdim=True), two - two.mean(1, keepdim=True)
    norms = torch.linalg.vector_norm(a, dim=1) * torch.linalg.vector_norm(b, dim=1)
    return (a * b).sum(1) / (norms + 1e-8)
