"""Adversarially robust distillation: soft targets on images that attack the student."""

from __future__ import annotations

from typing import Any

from pydantic import Field
from torch import Tensor

from kdpipe.distill.base import Attack, Objective, ObjectiveOptions, Step, objectives
from kdpipe.distill.shared.attack import AttackOptions, wrong_label
from kdpipe.distill.shared.softened import tempered_kl


class ARDOptions(AttackOptions, ObjectiveOptions):
    gamma: float = Field(
        0.0, ge=0, description="Weight of the cross-entropy on clean images, 1 − α of the paper."
    )
    alpha: float = Field(
        1.0, ge=0, description="Weight of the KL on attacked images; 0 attacks nobody."
    )
    temperature: float = Field(30.0, gt=0, description="τ, softens both distributions.")


@objectives.register("ard")
class ARD(Objective):
    """γ·CE(S(x), y) + α·τ²·KL(T(x) ‖ S(x + δ)), both softened by τ (Goldblum et al. 2020, Eq. 4).

    δ raises the cross-entropy of the student with the label: projected gradient ascent in the L∞
    ball of radius ε from a uniform start, at every step anew. The teacher sees the clean image. The
    mean is over the batch; the authors' code divides the KL by the number of classes as well, and
    attacks the student in training mode. Here the attack takes running statistics and no dropout,
    and leaves them alone; the student then learns from the attacked images in training mode.
    """

    Options = ARDOptions
    title = "ARD"
    place = 112
    needs_labels = True

    @classmethod
    def attack(cls, options: Any) -> Attack | None:
        return options.attack() if options.alpha else None

    def attacked_loss(self, step: Step, logits: Tensor) -> Tensor:
        return wrong_label(step, logits)

    def forward(self, step: Step) -> dict[str, Tensor]:
        o = self.options
        kl = 0 * step.logits.sum()  # so that a loss without weights has a gradient, of 0
        if o.alpha:
            assert step.teacher_logits is not None
            assert step.attacked_logits is not None
            kl = tempered_kl(step.teacher_logits, step.attacked_logits, o.temperature)
        return self.with_labels(step, o.alpha * kl, kl=kl)
