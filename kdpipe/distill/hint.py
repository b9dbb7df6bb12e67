"""Hint: an intermediate representation of the student predicts the teacher's."""

from __future__ import annotations

from typing import Any, Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from kdpipe.base.errors import KdpipeError
from kdpipe.distill.base import Objective, ObjectiveOptions, Setting, Step, objectives


class HintOptions(ObjectiveOptions):
    beta: float = Field(2.0, ge=0, description="Weight of the hint term.")
    layer: str = Field("hint", description="Layer of the student; 'hint' is the network's default.")
    teacher_layer: str = Field("hint", description="Layer of the teacher that is predicted.")
    reduction: Literal["mean", "sum"] = Field(
        "mean",
        description="Over the elements of a feature map: mean or sum (they differ by C·H·W, which "
        "decides what beta means). The mean over the batch is taken in both.",
    )


class Regressor(nn.Module):
    """Learned map from the student's feature shape to the teacher's.

    Feature maps: 1×1 convolution, after bilinear resizing where the resolutions differ; vectors:
    a linear map. Neither batch normalisation nor ReLU follows it, as in ``ConvReg`` of
    RepDistiller, whose convolution is also larger or transposed where the resolutions differ.
    """

    def __init__(self, shape: tuple[int, ...], target: tuple[int, ...]) -> None:
        super().__init__()
        if len(shape) != len(target) or len(shape) not in (1, 3):
            raise KdpipeError(
                f"hint: the student's layer has shape {shape} and the teacher's {target}; choose "
                f"two feature maps or two vectors with layer and teacher_layer."
            )
        self.size = target[1:]
        self.map: nn.Module = (
            nn.Linear(shape[0], target[0])
            if len(target) == 1
            else nn.Conv2d(shape[0], target[0], kernel_size=1)
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.size and tuple(x.shape[2:]) != tuple(self.size):
            x = F.interpolate(x, self.size, mode="bilinear", align_corners=False)
        return self.map(x)


@objectives.register("hint")
class Hint(Objective):
    """γ·CE + β·½‖f_t − r(f_s)‖² (Romero et al. 2015, Eq. 3; Ojha et al. 2023, Eq. 2).

    r is a 1×1 convolution (vectors: a linear map), after bilinear resizing where the resolutions
    differ, without the batch normalisation and ReLU that RepDistiller puts behind it.
    """

    Options = HintOptions
    title = "Hint"
    place = 20

    def __init__(self, options: HintOptions, setting: Setting) -> None:
        super().__init__(options, setting)
        self.regressor = Regressor(
            setting.shapes[options.layer], setting.teacher_shapes[options.teacher_layer]
        )

    @classmethod
    def student_layers(cls, options: Any) -> tuple[str, ...]:
        return (options.layer,)

    @classmethod
    def teacher_layers(cls, options: Any) -> tuple[str, ...]:
        return (options.teacher_layer,)

    def forward(self, step: Step) -> dict[str, Tensor]:
        o = self.options
        guess = self.regressor(step.features[o.layer])
        square = (step.teacher_features[o.teacher_layer] - guess).square().flatten(1)
        per_image = square.mean(1) if o.reduction == "mean" else square.sum(1)
        hint = 0.5 * per_image.mean()
        labels = self.label_loss(step)
        return {"loss": o.gamma * labels + o.beta * hint, "labels": labels, "hint": hint}
