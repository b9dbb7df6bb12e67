"""Flow of the solution procedure: how the student's features change from layer to layer."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from kdpipe.base.errors import KdpipeError
from kdpipe.base.layer_names import BEFORE, STAGES
from kdpipe.distill.base import Setting, Step, full_precision, objectives
from kdpipe.distill.shared.connector import by, pooled
from kdpipe.distill.shared.maps import MapsObjective, MapsOptions


class FSPOptions(MapsOptions):
    beta: float = Field(1.0, ge=0, description="Weight of the flow term.")
    pooling: Literal["max", "average"] = Field(
        "max",
        description="How the larger of two maps of one network is brought to the smaller one's "
        "size: max as in the paper, average as in RepDistiller and AberHu.",
    )
    reduction: Literal["mean", "sum", "columns"] = Field(
        "mean",
        description="Over the numbers of a flow matrix. mean: of squared differences, as in "
        "RepDistiller and AberHu; sum: of the same, as in the paper; columns: sum of the L2 norms "
        "of the columns, as in torchdistill. The mean over the batch is taken in all.",
    )
    connect: bool = Field(
        True,
        description="Whether a learned 1×1 convolution brings the student's channels to the "
        "number of the teacher's where they differ; false: such layers are refused, as the method "
        "is published for equal numbers.",
    )


@objectives.register("fsp")
class FSP(MapsObjective):
    """γ·CE + β·Σ (G_s − G_t)², mean over the matrix and the batch, sum over neighbouring layers
    (Yim et al. 2017, Eqs. 1 and 2), with the flow matrix G_ij = mean over places of f_i·g_j of the
    channels f_i of one layer and g_j of the next.

    The layers are the one before the stages and the outputs of the stages. The paper trains by this
    term alone first and by labels afterwards; here both are minimised together, as in AberHu's
    library.
    """

    Options = FSPOptions
    title = "FSP"
    place = 230
    fewest = 2
    usual = (BEFORE, STAGES)

    def __init__(self, options: Any, setting: Setting) -> None:
        super().__init__(options, setting)
        self.connectors = nn.ModuleList()
        for (own, theirs), (shape, target) in zip(self.pairs, self.forms, strict=True):
            if shape[0] != target[0] and not self.options.connect:
                raise KdpipeError(
                    f"fsp: the student's '{own}' ({by(shape)}) and the teacher's '{theirs}' "
                    f"({by(target)}) differ in channels; name others with layers and "
                    f"teacher_layers, or set connect to true."
                )
            alike = shape[0] == target[0]
            self.connectors.append(
                nn.Identity() if alike else nn.Conv2d(shape[0], target[0], 1, bias=False)
            )

    def forward(self, step: Step) -> dict[str, Tensor]:
        o, maps = self.options, self.maps(step)
        own = [full_precision(c(s)) for c, (s, _) in zip(self.connectors, maps, strict=True)]
        theirs = [full_precision(t) for _, t in maps]
        # In full precision: the matrices are means of products.
        with torch.autocast(step.logits.device.type, enabled=False):
            both = zip(self._flows(own), self._flows(theirs), strict=True)
            flow = torch.stack([self._distance(s - t) for s, t in both]).sum()
        return self.with_labels(step, o.beta * flow, flow=flow)

    def _flows(self, maps: list[Tensor]) -> list[Tensor]:
        """G (n, channels of one layer, channels of the next) of neighbouring layers."""
        found = []
        for one, following in pairwise(maps):
            f, g = pooled(one, following, largest=self.options.pooling == "max")
            f, g = f.flatten(2), g.flatten(2)
            found.append(f @ g.transpose(1, 2) / f.shape[2])
        return found

    def _distance(self, far: Tensor) -> Tensor:
        reduction = self.options.reduction
        if reduction == "columns":
            return torch.linalg.vector_norm(far, dim=1).sum(1).mean()
        square = far.square().flatten(1)
        return (square.mean(1) if reduction == "mean" else square.sum(1)).mean()
