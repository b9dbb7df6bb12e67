"""Neuron selectivity transfer: channels fire at the same places as the teacher's channels."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from kdpipe.distill.base import Step, objectives
from kdpipe.distill.shared.connector import pooled
from kdpipe.distill.shared.maps import MapsObjective, MapsOptions


class NSTOptions(MapsOptions):
    beta: float = Field(50.0, ge=0, description="Weight of the selectivity term.")
    kernel: Literal["polynomial", "linear"] = Field(
        "polynomial",
        description="k(x, y): (x·y)² or x·y. The linear one compares the mean over channels, as "
        "attention transfer does.",
    )


@objectives.register("nst")
class NST(MapsObjective):
    """γ·CE + β·MMD², mean over the batch, sum over the pairs of layers (Huang & Wang 2017, Eqs. 7
    and 8): MMD² = mean k(t_i, t_j) + mean k(s_i, s_j) − 2·mean k(s_i, t_j) over pairs of channels.

    s_i and t_j are the maps of single channels, of length 1 over the places, and k(x, y) = (x·y)²
    (the polynomial kernel with d = 2 and c = 0, the paper's best). The numbers of channels may
    differ; the larger of two maps is average-pooled to the size of the smaller one first. As in
    RepDistiller and AberHu, without the ½ beside the paper's λ; the authors' code leaves the
    teacher's own term out, which has no gradient.
    """

    Options = NSTOptions
    title = "NST"
    place = 210

    def forward(self, step: Step) -> dict[str, Tensor]:
        o = self.options
        # In full precision: the three terms nearly cancel.
        with torch.autocast(step.logits.device.type, enabled=False):
            terms = [self._mmd(*pooled(own, theirs)) for own, theirs in self.maps(step)]
        selectivity = torch.stack(terms).sum()
        return self.with_labels(step, o.beta * selectivity, selectivity=selectivity)

    def _mmd(self, own: Tensor, theirs: Tensor) -> Tensor:
        s, t = (F.normalize(x.flatten(2), dim=2) for x in (own, theirs))
        return self._kernel(t, t) + self._kernel(s, s) - 2 * self._kernel(s, t)

    def _kernel(self, x: Tensor, y: Tensor) -> Tensor:
        """Mean of k over images and pairs of channels; (n, channels, places) each."""
        products = x @ y.transpose(1, 2)
        return (products.square() if self.options.kernel == "polynomial" else products).mean()
