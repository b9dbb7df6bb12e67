"""Normalised distillation: soft cross-entropies with the label's class and with the others."""

from __future__ import annotations

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from kdpipe.distill.base import Objective, ObjectiveOptions, Step, full_precision, objectives
from kdpipe.distill.shared.softened import without_label


class NKDOptions(ObjectiveOptions):
    alpha: float = Field(1.0, ge=0, description="Weight of the label's class.")
    beta: float = Field(1.5, ge=0, description="Weight of the other classes, γ of the paper.")
    temperature: float = Field(1.0, gt=0, description="λ of the paper, of the other classes alone.")


@objectives.register("nkd")
class NKD(Objective):
    """γ·CE + α·L_target + β·L_non (Yang et al. 2023; α = 1 there).

    L_target = −p_t(y)·log p_s(y), without a temperature; L_non = −τ²·Σ_{c≠y} q_t(c)·log q_s(c)
    with q the softmax of logits/τ over the classes but y; means over the batch. Cross-entropies,
    not divergences: they are not 0 for a student that equals its teacher.
    """

    Options = NKDOptions
    title = "NKD"
    place = 80
    needs_labels = True

    def forward(self, step: Step) -> dict[str, Tensor]:
        o, at = self.options, step.labels[:, None]
        assert step.teacher_logits is not None
        teacher, student = full_precision(step.teacher_logits), full_precision(step.logits)
        share = teacher.softmax(1).gather(1, at)
        target = -(share * student.log_softmax(1).gather(1, at)).mean()
        q_teacher = (without_label(teacher, step.labels) / o.temperature).softmax(1)
        q_student = F.log_softmax(without_label(student, step.labels) / o.temperature, dim=1)
        non_target = -(o.temperature**2) * (q_teacher * q_student).sum(1).mean()
        distilled = o.alpha * target + o.beta * non_target
        return self.with_labels(step, distilled, target=target, non_target=non_target)
