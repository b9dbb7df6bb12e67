"""Hint: an intermediate representation of the student predicts the teacher's."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor

from kdpipe.distill.base import ObjectiveOptions, OneLayer, Setting, Step, objectives
from kdpipe.distill.shared.connector import Connector


class HintOptions(ObjectiveOptions):
    beta: float = Field(2.0, ge=0, description="Weight of the hint term.")
    layer: str = Field("hint", description="Layer of the student; 'hint' is the network's default.")
    teacher_layer: str = Field("hint", description="Layer of the teacher that is predicted.")
    reduction: Literal["mean", "sum"] = Field(
        "mean",
        description="Over the elements of a feature map: mean or sum (they differ by C·H·W, which "
        "decides what beta means). The mean over the batch is taken in both.",
    )


@objectives.register("hint")
class Hint(OneLayer):
    """γ·CE + β·½‖f_t − r(f_s)‖² (Romero et al. 2015, Eq. 3; Ojha et al. 2023, Eq. 2).

    r is a 1×1 convolution (vectors: a linear map), after bilinear resizing where the resolutions
    differ, without the batch normalisation and ReLU that RepDistiller puts behind it.
    """

    Options = HintOptions
    title = "Hint"
    place = 20

    def __init__(self, options: HintOptions, setting: Setting) -> None:
        super().__init__(options, setting)
        shapes = setting.shapes[options.layer], setting.teacher_shapes[options.teacher_layer]
        self.regressor = Connector(*shapes, "hint")

    def forward(self, step: Step) -> dict[str, Tensor]:
        o = self.options
        guess = self.regressor(step.features[o.layer])
        target = self.regressor.target(step.teacher_features[o.teacher_layer])
        square = (target - guess).square().flatten(1)
        per_image = square.mean(1) if o.reduction == "mean" else square.sum(1)
        hint = 0.5 * per_image.mean()
        labels = self.label_loss(step)
        return {"loss": o.gamma * labels + o.beta * hint, "labels": labels, "hint": hint}
