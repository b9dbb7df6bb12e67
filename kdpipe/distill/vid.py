"""Variational information distillation: the student's features predict the teacher's, with a
variance for each channel."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from kdpipe.distill.base import Setting, Step, full_precision, objectives
from kdpipe.distill.shared.connector import Shape, pooled
from kdpipe.distill.shared.maps import MapsObjective, MapsOptions

LEAST = 1e-5
"""Added to every variance."""


class VIDOptions(MapsOptions):
    beta: float = Field(1.0, ge=0, description="Weight of the information term.")
    variance: float = Field(5.0, gt=LEAST, description="Variance of every channel at the start.")
    learn_variance: bool = Field(
        True, description="Whether variances are trained; mdistiller keeps them as they are."
    )


class Gaussian(nn.Module):
    """q(t | s): a mean by three 1×1 convolutions without bias, with ReLU between them, and a
    variance for each of the teacher's channels."""

    def __init__(self, shape: Shape, target: Shape, options: VIDOptions) -> None:
        super().__init__()
        c = target[0]
        layers = [nn.Conv2d(k, c, 1, bias=False) for k in (shape[0], c, c)]
        self.mean = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])
        start = options.variance - LEAST
        scale = torch.full((c,), start + math.log(-math.expm1(-start)))  # softplus gives start
        self.log_scale = nn.Parameter(scale, requires_grad=options.learn_variance)

    def forward(self, own: Tensor, theirs: Tensor) -> Tensor:
        """½·[(t − μ(s))²/σ² + log σ²], mean over elements and batch."""
        own, theirs = pooled(own, theirs)
        square = (full_precision(self.mean(own)) - theirs).square()
        variance = (F.softplus(self.log_scale) + LEAST)[:, None, None]
        return 0.5 * (square / variance + variance.log()).mean()


@objectives.register("vid")
class VID(MapsObjective):
    """γ·CE + β·½·[(t − μ(s))²/σ² + log σ²], mean over elements and batch, sum over the pairs of
    layers (Ahn et al. 2019, Eqs. 2, 4 and 5).

    The negative logarithm of a normal density, without the constant ½·log 2π, so that it may be
    negative. σ² = log(1 + e^α) + 10⁻⁵ with a learned α for each channel of the teacher. As in
    RepDistiller, the larger of two maps is average-pooled to the size of the smaller one, and the
    mean over the elements stands where the paper sums. Two vectors are maps of one place.
    """

    Options = VIDOptions
    title = "VID"
    place = 220
    takes_vectors = True

    def __init__(self, options: Any, setting: Setting) -> None:
        super().__init__(options, setting)
        self.densities = nn.ModuleList(Gaussian(*forms, self.options) for forms in self.forms)

    def forward(self, step: Step) -> dict[str, Tensor]:
        o = self.options
        both = zip(self.densities, self.maps(step), strict=True)
        information = torch.stack([density(*maps) for density, maps in both]).sum()
        return self.with_labels(step, o.beta * information, information=information)
