"""Options and losses that objectives on attacked images share."""

from __future__ import annotations

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from kdpipe.base.options import Options
from kdpipe.distill.base import Attack, Step, full_precision


class AttackOptions(Options):
    epsilon: float = Field(
        8 / 255, gt=0, le=1, description="Largest change of a pixel, images being in [0, 1]."
    )
    steps: int = Field(10, ge=1, description="k, steps of the attack on every batch.")
    step_ratio: float = Field(
        2.5, gt=0, description="Step size a = step_ratio·ε/k: 2/255 by default, as published."
    )

    def attack(self, *, instead: bool = False) -> Attack:
        step = self.step_ratio * self.epsilon / self.steps
        return Attack(self.epsilon, step, self.steps, instead)


def wrong_label(step: Step, logits: Tensor) -> Tensor:
    """Cross-entropy with the labels, summed over the images: an attack that raises it makes the
    network wrong."""
    return F.cross_entropy(full_precision(logits), step.labels, reduction="sum")


def unlike_teacher(step: Step, logits: Tensor) -> Tensor:
    """KL from the teacher's probabilities on the clean images to those of ``logits``, summed over
    the images: an attack that raises it leads the student away from its teacher."""
    assert step.teacher_logits is not None
    target = F.log_softmax(full_precision(step.teacher_logits), dim=1)
    guess = F.log_softmax(full_precision(logits), dim=1)
    return F.kl_div(guess, target, reduction="sum", log_target=True)
