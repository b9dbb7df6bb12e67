"""Softmax regression: the teacher's classifier reads the student's features as its own."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from kdpipe.distill.base import (
    ObjectiveOptions,
    OneLayer,
    Setting,
    Step,
    full_precision,
    objectives,
)


class SRRLOptions(ObjectiveOptions):
    beta: float = Field(1.0, ge=0, description="Weight of the features.")
    alpha: float = Field(
        1.0,
        ge=0,
        description="Weight of the logits that the teacher's classifier gives; cls_KD takes 5.",
    )
    layer: str = Field(
        "cam",
        description="Layer of the student: a feature map, which the connector maps before the mean "
        "over places, as in the authors' code, or penultimate, a vector, as in that of SimKD.",
    )
    teacher_layer: str = Field(
        "penultimate", description="Layer of the teacher, which its classifier reads."
    )


class Connector(nn.Module):
    """1×1 convolution without bias, batch normalisation, ReLU, mean over places.

    Takes maps (n, channels, height, width) or vectors (n, channels), gives vectors (n, width).
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.map = nn.Conv2d(channels, width, kernel_size=1, bias=False)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.map(x.reshape(*x.shape[:2], *(x.shape[2:] or (1, 1))))
        # A single number has no variance: what it is normalised by is remembered.
        alone = x.numel() == x.shape[1]
        x = F.batch_norm(
            x,
            self.norm.running_mean,
            self.norm.running_var,
            self.norm.weight,
            self.norm.bias,
            training=self.training and not alone,
            momentum=0.1,
        )
        return F.relu(x).flatten(2).mean(2)


@objectives.register("srrl")
class SRRL(OneLayer):
    """γ·CE + β·‖c(f_s) − f_t‖² + α·‖W_t c(f_s) + b_t − z_t‖² (Yang, Martinez, Bulat &
    Tzimiropoulos 2021), squares averaged over the numbers of a vector and over the batch.

    c is a 1×1 convolution, batch normalisation, ReLU and the mean over places; f_t the vector that
    the teacher's classifier (W_t, b_t) reads, which stays as it is, and z_t the teacher's logits.
    The weights are those of the authors' code; the SimKD toolbox adds KL (τ = 4) with weight 1. The
    teacher needs a last layer that is linear.
    """

    Options = SRRLOptions
    title = "SRRL"
    place = 70

    def __init__(self, options: SRRLOptions, setting: Setting) -> None:
        super().__init__(options, setting)
        assert setting.teacher_classifier is not None
        self.classifier = setting.teacher_classifier.requires_grad_(False)
        channels = setting.shapes[options.layer][0]
        self.connector = Connector(channels, self.classifier.in_features)

    @classmethod
    def classifier_reads(cls, options: Any) -> str:
        return options.teacher_layer

    def forward(self, step: Step) -> dict[str, Tensor]:
        o = self.options
        assert step.teacher_logits is not None
        guess = self.connector(step.features[o.layer])
        with torch.autocast(step.logits.device.type, enabled=False):
            guess = full_precision(guess)
            features = F.mse_loss(guess, vectors(step.teacher_features[o.teacher_layer]))
            regression = F.mse_loss(self.classifier(guess), full_precision(step.teacher_logits))
        distilled = o.beta * features + o.alpha * regression
        return self.with_labels(step, distilled, features=features, regression=regression)


def vectors(x: Tensor) -> Tensor:
    """Mean over places of maps (n, width, …) in full precision; vectors as they are."""
    x = full_precision(x)
    return x.flatten(2).mean(2) if x.dim() > 2 else x
