"""Control: soft labels without a teacher."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from kdpipe.distill.base import Objective, ObjectiveOptions, Step, full_precision, objectives


class SoftLabelOptions(ObjectiveOptions):
    gamma: float = Field(0.1, ge=0, description="Weight of the cross-entropy with the labels.")
    alpha: float = Field(0.9, ge=0, description="Weight of the soft-label term.")
    variance: float = Field(0.2, ge=0, description="Variance of the noise added to the one-hot.")
    label_temperature: float = Field(0.15, gt=0, description="Temperature of the soft label.")
    temperature: float = Field(1.0, gt=0, description="Temperature of the student's softmax.")


@objectives.register("soft_label")
class SoftLabel(Objective):
    """softmax((one-hot + noise) / 0.15) instead of the teacher's probabilities.

    Ojha et al. 2023, Sec. 11.2: separates the effect of soft targets from the teacher's knowledge.
    The noise is drawn anew for every image and step.
    """

    Options = SoftLabelOptions
    title = "Soft label"
    place = 50
    uses_teacher = False
    needs_labels = True

    def forward(self, step: Step) -> dict[str, Tensor]:
        o = self.options
        logits = full_precision(step.logits)
        one_hot = F.one_hot(step.labels, logits.shape[1]).to(logits.dtype)
        noisy = one_hot + math.sqrt(o.variance) * torch.randn_like(one_hot)
        target = F.log_softmax(noisy / o.label_temperature, dim=1)
        guess = F.log_softmax(logits / o.temperature, dim=1)
        soft = o.temperature**2 * F.kl_div(guess, target, reduction="batchmean", log_target=True)
        labels = self.label_loss(step)
        return {"loss": o.gamma * labels + o.alpha * soft, "labels": labels, "soft_label": soft}
