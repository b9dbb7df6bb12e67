"""Hard labels: the student learns the class that the teacher decides for."""

from __future__ import annotations

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from kdpipe.distill.base import Objective, ObjectiveOptions, Step, full_precision, objectives


class HardLabelOptions(ObjectiveOptions):
    gamma: float = Field(
        0.5, ge=0, description="Weight of the cross-entropy with the labels; 0 needs no labels."
    )
    alpha: float = Field(
        0.5, ge=0, description="Weight of the cross-entropy with the teacher's decisions."
    )


@objectives.register("hard_label")
class HardLabel(Objective):
    """γ·CE(z_s, y) + α·CE(z_s, argmax z_t), mean over the batch (Touvron et al. 2021, Eq. 3).

    In the paper a second token of the student answers the second term; here one answer has both.
    Label smoothing is for the labels alone.
    """

    Options = HardLabelOptions
    title = "Hard label"
    place = 90

    def forward(self, step: Step) -> dict[str, Tensor]:
        assert step.teacher_logits is not None
        decided = step.teacher_logits.argmax(1)
        hard = F.cross_entropy(full_precision(step.logits), decided)
        return self.with_labels(step, self.options.alpha * hard, hard_label=hard)
