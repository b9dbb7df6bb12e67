"""The student's features become the teacher's, and the teacher's classifier decides on them."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from kdpipe.base.errors import KdpipeError
from kdpipe.base.layer_names import PROJECTED
from kdpipe.distill.base import (
    Objective,
    ObjectiveOptions,
    Reuse,
    Setting,
    Step,
    full_precision,
    objectives,
)


class SimKDOptions(ObjectiveOptions):
    gamma: float = Field(0.0, ge=0, description="Weight of the cross-entropy with the labels.")
    beta: float = Field(1.0, ge=0, description="Weight of the features.")
    factor: int = Field(
        2,
        ge=1,
        description="By which the projector's inner layers are narrower than the teacher's "
        "features.",
    )
    layer: str = Field("cam", description="Layer of the student that the projector reads.")
    teacher_layer: str = Field(
        "cam",
        description="Layer of the teacher that is predicted; its classifier has to read the mean "
        "over places of it. Choose penultimate where other layers stand between.",
    )


@objectives.register("simkd")
class SimKD(Objective):
    """γ·CE + β·‖P(f_s) − f_t‖² (Chen et al. 2022), squares averaged over all numbers.

    f_s and f_t are the last feature maps, the larger of which is pooled to the size of the other,
    and P is a projector of 1×1, 3×3 and 1×1 convolutions, each with batch normalisation and ReLU.
    The student that is saved and probed is its network up to ``layer``, the projector, the mean
    over places, and the teacher's classifier, which is not trained. What stands behind ``layer`` in
    the student's own network stays as it was drawn. γ = 0 and a factor of 2 are the authors'.
    """

    Options = SimKDOptions
    title = "SimKD"
    place = 71

    def __init__(self, options: SimKDOptions, setting: Setting) -> None:
        super().__init__(options, setting)
        own, theirs = setting.shapes[PROJECTED], setting.teacher_shapes[options.teacher_layer]
        if own[0] != theirs[0]:
            raise KdpipeError(
                f"simkd: the projector gives {own[0]} channels and the teacher's layer has "
                f"{theirs[0]}; they have to be as many."
            )

    @classmethod
    def student_layers(cls, options: Any) -> tuple[str, ...]:
        return (PROJECTED,)

    @classmethod
    def teacher_layers(cls, options: Any) -> tuple[str, ...]:
        return (options.teacher_layer,)

    @classmethod
    def classifier_reads(cls, options: Any) -> str:
        return options.teacher_layer

    @classmethod
    def reuses(cls, options: Any) -> Reuse:
        return Reuse(options.layer, options.factor)

    def forward(self, step: Step) -> dict[str, Tensor]:
        o = self.options
        with torch.autocast(step.logits.device.type, enabled=False):
            own = as_maps(step.features[PROJECTED])
            theirs = as_maps(step.teacher_features[o.teacher_layer])
            if own.shape[2] < theirs.shape[2]:
                theirs = F.adaptive_avg_pool2d(theirs, (own.shape[2], own.shape[3]))
            features = F.mse_loss(own, theirs)
        return self.with_labels(step, o.beta * features, features=features)


def as_maps(x: Tensor) -> Tensor:
    """Maps in full precision; a vector is a map of one place."""
    x = full_precision(x)
    return x.reshape(*x.shape[:2], *(x.shape[2:] or (1, 1)))
