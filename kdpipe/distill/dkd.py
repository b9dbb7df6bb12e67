"""Decoupled distillation: the label's share of the probability, and how the rest is divided."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from kdpipe.base.errors import KdpipeError
from kdpipe.distill.base import (
    Objective,
    ObjectiveOptions,
    Setting,
    Step,
    full_precision,
    objectives,
)
from kdpipe.distill.shared.softened import standardised, without_label


class DKDOptions(ObjectiveOptions):
    alpha: float = Field(1.0, ge=0, description="Weight of TCKD, the label against all others.")
    beta: float = Field(
        8.0, ge=0, description="Weight of NCKD, the other classes among each other."
    )
    temperature: float = Field(4.0, gt=0, description="τ, softens both distributions.")
    warmup_epochs: int = Field(
        0, ge=0, description="Epochs in which both weights rise linearly; the authors take 20."
    )
    reduction: Literal["mean", "sum"] = Field(
        "mean",
        description="Over the images of a batch: mean as in the paper, or sum as in mmrazor.",
    )
    standardise: bool = Field(
        False, description="Standardise the logits of each image first (Sun et al. 2024)."
    )


@objectives.register("dkd")
class DKD(Objective):
    """γ·CE + w·(α·TCKD + β·NCKD) (Zhao et al. 2022, Eq. 7).

    TCKD = τ²·KL(b_t ‖ b_s) with b = (p_y, 1 − p_y), p the softmax of logits/τ and y the label;
    NCKD = τ²·KL(q_t ‖ q_s) with q the softmax of logits/τ over the classes but y; both are means
    over the batch. w rises from 1/``warmup_epochs`` to 1, as in the authors' code. mmrazor returns
    the sum over the batch, whatever its config asks for (``reduction: sum``). The authors remove
    the label's logit by subtracting 1000; here it is left out.
    """

    Options = DKDOptions
    title = "DKD"
    place = 60
    needs_labels = True

    def __init__(self, options: DKDOptions, setting: Setting) -> None:
        super().__init__(options, setting)
        if setting.n_classes < 3:
            raise KdpipeError(
                f"dkd: it compares the classes that are not the label, and of "
                f"{setting.n_classes} classes there is at most one; take kl, or three classes."
            )

    def forward(self, step: Step) -> dict[str, Tensor]:
        o = self.options
        assert step.teacher_logits is not None
        given = step.teacher_logits, step.logits
        teacher, student = (
            (standardised(z) if o.standardise else full_precision(z)) / o.temperature for z in given
        )
        share = o.temperature**2 / (len(student) if o.reduction == "mean" else 1)
        (t_label, t_rest), (s_label, s_rest) = (_binary(z, step.labels) for z in (teacher, student))
        target = t_label.exp() * (t_label - s_label) + t_rest.exp() * (t_rest - s_rest)
        tckd = share * target.sum()
        q_teacher, q_student = (
            F.log_softmax(without_label(z, step.labels), dim=1) for z in (teacher, student)
        )
        nckd = share * F.kl_div(q_student, q_teacher, reduction="sum", log_target=True)
        distilled = step.warm_up(o.warmup_epochs) * (o.alpha * tckd + o.beta * nckd)
        return self.with_labels(step, distilled, tckd=tckd, nckd=nckd)


def _binary(z: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Logarithms (n,) of p_y and 1 − p_y. By logsumexp: 1 − p_y rounds to 0 for a sure network."""
    total = torch.logsumexp(z, 1)
    label = z.gather(1, labels[:, None])[:, 0]
    return label - total, torch.logsumexp(without_label(z, labels), 1) - total
