"""Soft targets: the student matches the teacher's tempered class probabilities."""

from __future__ import annotations

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from kdpipe.distill.base import Objective, ObjectiveOptions, Step, full_precision, objectives


class KLOptions(ObjectiveOptions):
    gamma: float = Field(0.1, ge=0, description="Weight of the cross-entropy with the labels.")
    alpha: float = Field(0.9, ge=0, description="Weight of the distillation term.")
    temperature: float = Field(8.0, gt=0, description="τ, softens both distributions.")


def tempered_kl(teacher: Tensor, student: Tensor, temperature: float) -> Tensor:
    """τ²·KL(σ(teacher/τ) ‖ σ(student/τ)), mean over the batch; logits (n, classes).

    Hinton, Vinyals & Dean 2015, Sec. 2. The factor τ² keeps the gradient's size independent of
    τ. Cross-entropy in place of KL differs by the teacher's entropy, which has no gradient.
    """
    target = F.log_softmax(full_precision(teacher) / temperature, dim=1)
    guess = F.log_softmax(full_precision(student) / temperature, dim=1)
    return temperature**2 * F.kl_div(guess, target, reduction="batchmean", log_target=True)


@objectives.register("kl")
class KL(Objective):
    """γ·CE + α·τ²·KL (Ojha et al. 2023, Eq. 1)."""

    Options = KLOptions
    title = "KL"
    place = 10

    def forward(self, step: Step) -> dict[str, Tensor]:
        o = self.options
        assert step.teacher_logits is not None
        labels = self.label_loss(step)
        soft = tempered_kl(step.teacher_logits, step.logits, o.temperature)
        return {"loss": o.gamma * labels + o.alpha * soft, "labels": labels, "kl": soft}
