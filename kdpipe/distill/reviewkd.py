"""Knowledge review: deep layers of the student help to predict shallow ones of the teacher."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from kdpipe.base.errors import KdpipeError
from kdpipe.distill.base import Setting, Step, full_precision, objectives
from kdpipe.distill.shared.connector import Shape, by, pool
from kdpipe.distill.shared.maps import MapsObjective, MapsOptions

POOLED = "penultimate"
WIDEST = 512
SIZES = (4, 2, 1)


class ReviewKDOptions(MapsOptions):
    beta: float = Field(1.0, ge=0, description="Weight of the review term.")
    warmup_epochs: int = Field(
        20, ge=0, description="Epochs over which the term's weight rises; 0 for none."
    )


class Norm(nn.BatchNorm2d):
    """Batch normalisation that uses its running statistics where a batch has a single value of
    each channel."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or x.numel() > x.shape[1]:
            return super().forward(x)
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias)


def _conv(before: int, after: int, kernel: int) -> nn.Sequential:
    conv = nn.Conv2d(before, after, kernel, padding=kernel // 2, bias=False)
    nn.init.kaiming_uniform_(conv.weight, a=1)
    return nn.Sequential(conv, Norm(after))


class Fusion(nn.Module):
    """The attention-based fusion (ABF) of Fig. 3b: one level and, unless it is the deepest, what
    came from the level below, weighed against each other at every place."""

    def __init__(self, shape: Shape, target: Shape, width: int, deepest: bool) -> None:
        super().__init__()
        self.size = tuple(target[1:])
        self.conv1 = _conv(shape[0], width, 1)
        self.conv2 = _conv(width, target[0], 3)
        self.attention = None if deepest else nn.Conv2d(2 * width, 2, 1)

    def forward(self, x: Tensor, below: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The level in the shape of the teacher's, and what the next level is fused with."""
        x = self.conv1(x)
        if self.attention is not None and below is not None:
            below = F.interpolate(below, x.shape[2:], mode="nearest")
            share = self.attention(torch.cat([x, below], 1)).sigmoid()
            x = x * share[:, :1] + below * share[:, 1:]
        if tuple(x.shape[2:]) != self.size:
            x = F.interpolate(x, self.size, mode="nearest")
        return self.conv2(x), x


def hierarchical(own: Tensor, theirs: Tensor) -> Tensor:
    """The context loss (HCL) of two maps (n, channels, h, w): mean squared difference of the maps
    (weight 1) and of their averages over 4×4, 2×2 and 1×1 windows (½, ¼, ⅛, over those with fewer
    than h), divided by the sum of the weights used."""
    own, theirs = full_precision(own), full_precision(theirs)
    loss, weight, total = F.mse_loss(own, theirs), 1.0, 1.0
    for size in SIZES:
        if size < own.shape[2]:
            weight /= 2
            a, b = (pool(x, size, size) for x in (own, theirs))
            loss, total = loss + weight * F.mse_loss(a, b), total + weight
    return loss / total


def _pooled(x: Tensor) -> Tensor:
    """Maps of one place of a vector or of maps."""
    return (x.flatten(2).mean(2) if x.dim() > 2 else x)[:, :, None, None]


@objectives.register("reviewkd")
class ReviewKD(MapsObjective):
    """γ·CE + β·w·Σ HCL(t_l, ABF(s_l, ABF of the levels below)), sum over the pairs of layers and
    the pooled vectors (Chen et al. 2021, Eqs. 6 and 7, Fig. 3).

    From the pooled vector back to the first stage, each level of the student is fused with what
    came from the deeper ones and brought to the teacher's channels and resolution. w rises from
    1/20 to 1 over 20 epochs. The authors take the teacher's maps before the last ReLU of a stage;
    here they are the outputs of the stages unless teacher_layers name others (``block5.1`` of VGG,
    ``stage2.0.bn1`` and ``bn`` of WRN). Their weights: 0.6 for ResNet56 → ResNet20, 5 for the pairs
    of WRN.
    """

    Options = ReviewKDOptions
    title = "ReviewKD"
    place = 240

    def __init__(self, options: Any, setting: Setting) -> None:
        super().__init__(options, setting)
        shapes = setting.shapes[POOLED], setting.teacher_shapes[POOLED]
        if any(len(shape) not in (1, 3) for shape in shapes):
            raise KdpipeError(
                f"reviewkd: 'penultimate' of student and teacher has to be a vector or maps, and "
                f"has shape {by(shapes[0])} and {by(shapes[1])}; use networks that pool their "
                f"tokens, or another objective."
            )
        deepest = tuple((shape[0], 1, 1) for shape in shapes)
        levels = [*self.forms, deepest]
        width = min(WIDEST, levels[-1][0][0])
        self.fusions = nn.ModuleList(
            Fusion(own, theirs, width, k == 0) for k, (own, theirs) in enumerate(levels[::-1])
        )

    @classmethod
    def student_layers(cls, options: Any) -> tuple[str, ...]:
        return (*(n for n in super().student_layers(options) if n != POOLED), POOLED)

    @classmethod
    def teacher_layers(cls, options: Any) -> tuple[str, ...]:
        return (*(n for n in super().teacher_layers(options) if n != POOLED), POOLED)

    @property
    def layer_pairs(self) -> list[tuple[str, str]]:
        return [*self.pairs, (POOLED, POOLED)]

    def forward(self, step: Step) -> dict[str, Tensor]:
        o = self.options
        ends = _pooled(step.features[POOLED]), _pooled(step.teacher_features[POOLED])
        levels = [*self.maps(step), ends]
        terms, below = [], None
        for fusion, (own, theirs) in zip(self.fusions, reversed(levels), strict=True):
            guess, below = fusion(own, below)
            terms.append(hierarchical(guess, theirs))
        review = torch.stack(terms).sum()
        weight = o.beta * step.warm_up(o.warmup_epochs)
        return self.with_labels(step, weight * review, review=review)
