"""Robust soft labels: the student answers as its teacher, on clean images and under attack."""

from __future__ import annotations

from typing import Any

from pydantic import Field
from torch import Tensor

from kdpipe.distill.base import Attack, Objective, ObjectiveOptions, Step, objectives
from kdpipe.distill.shared.attack import AttackOptions, unlike_teacher
from kdpipe.distill.shared.softened import tempered_kl


class RSLADOptions(AttackOptions, ObjectiveOptions):
    gamma: float = Field(0.0, ge=0, description="Weight of the cross-entropy with the labels.")
    alpha: float = Field(
        5 / 6, ge=0, description="Weight of the KL on attacked images; 0 attacks nobody."
    )
    beta: float = Field(
        1 / 6, ge=0, description="Weight of the KL on clean images, 1 − α of the paper."
    )


@objectives.register("rslad")
class RSLAD(Objective):
    """γ·CE + α·KL(T(x) ‖ S(x + δ)) + β·KL(T(x) ‖ S(x)), without temperature (Zi et al. 2021,
    Eq. 5; γ is 0 there).

    δ raises KL(T(x) ‖ S(x + δ)): projected gradient ascent in the L∞ ball of radius ε, at every
    step anew, with the student's running statistics and without dropout as in the authors' code.
    It starts uniformly in the ball; the authors' starts within a few thousandths of the image.
    The mean is over the batch; their code divides by the number of classes as well.
    """

    Options = RSLADOptions
    title = "RSLAD"
    place = 114

    @classmethod
    def attack(cls, options: Any) -> Attack | None:
        return options.attack() if options.alpha else None

    def attacked_loss(self, step: Step, logits: Tensor) -> Tensor:
        return unlike_teacher(step, logits)

    def forward(self, step: Step) -> dict[str, Tensor]:
        o, teacher = self.options, step.teacher_logits
        assert teacher is not None
        clean, attacked = tempered_kl(teacher, step.logits, 1.0), step.logits.new_zeros(())
        if o.alpha:
            assert step.attacked_logits is not None
            attacked = tempered_kl(teacher, step.attacked_logits, 1.0)
        distilled = o.alpha * attacked + o.beta * clean
        return self.with_labels(step, distilled, clean=clean, attacked=attacked)
