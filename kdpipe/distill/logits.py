"""Regression on logits: the student repeats the teacher's scores before the softmax."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from kdpipe.distill.base import Objective, ObjectiveOptions, Step, objectives


class LogitsOptions(ObjectiveOptions):
    gamma: float = Field(0.0, ge=0, description="Weight of the cross-entropy with the labels.")
    beta: float = Field(1.0, ge=0, description="Weight of the regression.")


@objectives.register("logits")
class Logits(Objective):
    """γ·CE + β·½‖z_t − z_s‖², mean over the batch (Ba & Caruana 2014, Eq. 1).

    Unlike a softmax, it sees a shift that all classes of a logit vector share.
    """

    Options = LogitsOptions
    title = "Logits"
    place = 40

    def forward(self, step: Step) -> dict[str, Tensor]:
        o = self.options
        assert step.teacher_logits is not None
        labels = self.label_loss(step)
        square = 0.5 * (step.teacher_logits - step.logits).square().sum(1).mean()
        return {"loss": o.gamma * labels + o.beta * square, "labels": labels, "logits": square}
