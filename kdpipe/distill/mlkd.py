"""Multi-level distillation: probabilities, relations of images and of classes, at temperatures."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from kdpipe.distill.base import Objective, ObjectiveOptions, Step, full_precision, objectives
from kdpipe.distill.shared.softened import standardised, tempered_kl


class MLKDOptions(ObjectiveOptions):
    gamma: float = Field(0.1, ge=0, description="Weight of the cross-entropy with the labels.")
    alpha: float = Field(0.9, ge=0, description="Weight of each of the three levels.")
    temperatures: list[Annotated[float, Field(gt=0)]] = Field(
        [4.0, 3.0, 5.0, 2.0, 6.0], min_length=1, description="The terms are summed over them."
    )
    standardise: bool = Field(
        False,
        description="Standardise the logits of each image first, in the level of instances alone "
        "(Sun et al. 2024).",
    )


@objectives.register("mlkd")
class MLKD(Objective):
    """γ·CE + α·Σ_τ (L_ins + L_batch + L_class) (Jin, Wang & Lin 2023, Sec. 3).

    With p the softmax of logits/τ, (n, c): L_ins = τ²·KL(p_t ‖ p_s), mean over the batch;
    L_batch = ‖p_t·p_tᵀ − p_s·p_sᵀ‖²/n, of images; L_class = ‖p_tᵀ·p_t − p_sᵀ·p_s‖²/c, of classes;
    Frobenius norms.

    The authors' code adds to the paper: a second, strongly augmented view of each image in the
    first level; and factors that scale each term by the share of images (or classes) of which the
    teacher is less sure than of the median one. Here there is one view, and no such factor.
    """

    Options = MLKDOptions
    title = "MLKD"
    place = 100

    def forward(self, step: Step) -> dict[str, Tensor]:
        o = self.options
        assert step.teacher_logits is not None
        teacher, student = full_precision(step.teacher_logits), full_precision(step.logits)
        given = (
            (standardised(teacher), standardised(student)) if o.standardise else (teacher, student)
        )
        zero = student.new_zeros(())
        instances, images, classes = zero, zero, zero
        for tau in o.temperatures:
            p_t, p_s = torch.softmax(teacher / tau, 1), torch.softmax(student / tau, 1)
            instances = instances + tempered_kl(*given, tau)
            # In full precision: autocast would multiply in bf16.
            with torch.autocast(student.device.type, enabled=False):
                images = images + relations(p_t, p_s)
                classes = classes + relations(p_t.T, p_s.T)
        terms = {"instances": instances, "images": images, "classes": classes}
        return self.with_labels(step, o.alpha * (instances + images + classes), **terms)


def relations(teacher: Tensor, student: Tensor) -> Tensor:
    """‖t·tᵀ − s·sᵀ‖² / n of matrices (n, m): how the products of rows differ."""
    return (teacher @ teacher.T - student @ student.T).square().sum() / len(teacher)
