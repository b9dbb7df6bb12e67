"""Adversarial training: cross-entropy with the labels on images that attack the network."""

from __future__ import annotations

from typing import Any

from pydantic import Field
from torch import Tensor

from kdpipe.distill.base import Attack, Objective, Step, objectives
from kdpipe.distill.shared.attack import AttackOptions, wrong_label


class AdversarialTrainingOptions(AttackOptions):
    steps: int = Field(7, ge=1, description="k, steps of the attack on every batch.")
    step_ratio: float = Field(
        1.75, gt=0, description="Step size a = step_ratio·ε/k: 2/255 by default, as published."
    )


@objectives.register("adversarial_training")
class AdversarialTraining(Objective):
    """CE(S(x + δ), y), no clean image (Madry et al. 2018, Eq. 2.1): how a robust teacher is made,
    and a student that is robust without one.

    δ raises the same cross-entropy: projected gradient ascent in the L∞ ball of radius ε from a
    uniform start, at every step anew, with running statistics and without dropout. The accuracy
    that training shows is that on attacked images.
    """

    Options = AdversarialTrainingOptions
    title = "Adversarial training"
    place = 52
    uses_teacher = False
    needs_labels = True

    @classmethod
    def attack(cls, options: Any) -> Attack:
        return options.attack(instead=True)

    def attacked_loss(self, step: Step, logits: Tensor) -> Tensor:
        return wrong_label(step, logits)

    def forward(self, step: Step) -> dict[str, Tensor]:
        return {"loss": self.label_loss(step)}
