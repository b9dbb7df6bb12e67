"""Explanation-enhanced distillation: the student looks where its teacher looks."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from kdpipe.base.errors import KdpipeError
from kdpipe.distill.base import (
    ObjectiveOptions,
    OneLayer,
    Setting,
    Step,
    full_precision,
    objectives,
)
from kdpipe.distill.shared.softened import tempered_kl


class E2KDOptions(ObjectiveOptions):
    gamma: float = Field(0.0, ge=0, description="Weight of the cross-entropy with the labels.")
    alpha: float = Field(1.0, ge=0, description="Weight of the KL of softened probabilities.")
    beta: float = Field(1.0, ge=0, description="Weight of the explanations, λ of the paper.")
    temperature: float = Field(4.0, gt=0, description="τ, softens both distributions.")
    layer: str = Field("cam", description="Layer of the student, a feature map.")
    teacher_layer: str = Field("cam", description="Layer of the teacher, a feature map.")


@objectives.register("e2kd")
class E2KD(OneLayer):
    """γ·CE + α·τ²·KL + β·(1 − cos(E_t, E_s)), mean over the batch (Parchami-Araghi et al. 2024).

    E is the Grad-CAM of the class that the teacher decides for, in both networks:
    ReLU(Σ_k a_k·mean over places of ∂z/∂a_k). The smaller map is enlarged bilinearly to the larger
    one's resolution, as the probe ``localization`` does. A map that is zero everywhere has the
    cosine 0 with any other.

    It takes a backward pass through the layers behind ``layer``, of both networks, and trains
    through the student's; the teacher runs at every step, as no table holds its explanations.
    """

    Options = E2KDOptions
    title = "e²KD"
    place = 110

    def __init__(self, options: E2KDOptions, setting: Setting) -> None:
        super().__init__(options, setting)
        own, theirs = setting.shapes[options.layer], setting.teacher_shapes[options.teacher_layer]
        for whose, key, shape in (("student", "layer", own), ("teacher", "teacher_layer", theirs)):
            if len(shape) != 3 or shape[1] * shape[2] < 2:
                raise KdpipeError(
                    f"e2kd: the {whose}'s layer has the shape {shape}, and an explanation needs "
                    f"feature maps of more than one place; name another one with {key}."
                )
        self.size = max(own[1], theirs[1]), max(own[2], theirs[2])

    @classmethod
    def student_gradients(cls, options: Any) -> tuple[str, ...]:
        return (options.layer,)

    @classmethod
    def teacher_gradients(cls, options: Any) -> tuple[str, ...]:
        return (options.teacher_layer,)

    def forward(self, step: Step) -> dict[str, Tensor]:
        o = self.options
        assert step.teacher_logits is not None
        kl = tempered_kl(step.teacher_logits, step.logits, o.temperature)
        own = grad_cam(step.features[o.layer], step.gradients[o.layer])
        there = o.teacher_layer
        theirs = grad_cam(step.teacher_features[there], step.teacher_gradients[there])
        student, teacher = (_enlarged(maps, self.size).flatten(1) for maps in (own, theirs))
        unlike = 1 - F.cosine_similarity(student, teacher, dim=1).mean()
        return self.with_labels(step, o.alpha * kl + o.beta * unlike, kl=kl, explanations=unlike)


def grad_cam(maps: Tensor, gradient: Tensor) -> Tensor:
    """ReLU(Σ_k a_k·mean(∂z/∂a_k)) (n, h, w) of feature maps and the gradient, (n, channels, h, w).

    Selvaraju et al. 2017, Eqs. 1 and 2.
    """
    weights = full_precision(gradient).mean((2, 3), keepdim=True)
    return F.relu((weights * full_precision(maps)).sum(1))


def _enlarged(maps: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(maps.shape[1:]) == size:
        return maps
    return F.interpolate(maps[:, None], size, mode="bilinear", align_corners=False)[:, 0]
