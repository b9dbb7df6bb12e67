"""Soft targets: the student matches the teacher's tempered class probabilities."""

from __future__ import annotations

from operator import not_

from pydantic import Field
from torch import Tensor

from kdpipe.distill.base import Objective, ObjectiveOptions, Step, objectives
from kdpipe.distill.shared.softened import standardised, tempered_kl


class KLOptions(ObjectiveOptions):
    gamma: float = Field(
        0.1, ge=0, description="Weight of the cross-entropy with the labels; 0 needs no labels."
    )
    alpha: float = Field(0.9, ge=0, description="Weight of the distillation term.")
    temperature: float = Field(8.0, gt=0, description="τ, softens both distributions.")
    # Left out of settings unless given: those of students that were trained before stay the same.
    student_temperature: float | None = Field(
        None,
        gt=0,
        exclude_if=not_,
        description="τ of the student, where it differs from the teacher's.",
    )
    standardise: bool = Field(
        False,
        exclude_if=not_,
        description="Logit standardisation: the logits of an image get mean 0 and standard "
        "deviation 1 before τ divides them, so that the student need not match their scale.",
    )


@objectives.register("kl")
class KL(Objective):
    """γ·CE + α·τ²·KL (Hinton, Vinyals & Dean 2015; Ojha et al. 2023, Eq. 1).

    ``standardise``: of standardised logits (Sun et al. 2024). The factor τ² is the student's.
    RepDistiller and most libraries compute the same; torchdistill leaves out τ² without labels,
    and some libraries divide by the number of classes as well.
    """

    Options = KLOptions
    title = "KL"
    place = 10

    def forward(self, step: Step) -> dict[str, Tensor]:
        o = self.options
        teacher, student = step.teacher_logits, step.logits
        assert teacher is not None
        if o.standardise:
            teacher, student = standardised(teacher), standardised(student)
        soft = tempered_kl(teacher, student, o.temperature, o.student_temperature)
        return self.with_labels(step, o.alpha * soft, kl=soft)
