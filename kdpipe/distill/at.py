"""Attention transfer: the student is active at the places where the teacher is."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from kdpipe.distill.base import Step, objectives
from kdpipe.distill.shared.connector import pooled
from kdpipe.distill.shared.maps import MapsObjective, MapsOptions


class ATOptions(MapsOptions):
    beta: float = Field(1000.0, ge=0, description="Weight of the attention term.")
    p: int = Field(2, ge=1, description="Power of an activation in the attention map.")
    absolute: bool = Field(
        True,
        description="Whether activations lose their sign before the power, as in the paper; "
        "RepDistiller and mdistiller keep it, which matters for odd p.",
    )
    distance: Literal["squared", "norm"] = Field(
        "squared",
        description="squared: mean of (q_s − q_t)² over places and batch, as in the authors' code; "
        "norm: ‖q_s − q_t‖₂, mean over the batch, as Eq. 2 prints it.",
    )


@objectives.register("at")
class AT(MapsObjective):
    """γ·CE + β·Σ (q_s − q_t)², mean over places and batch, sum over the pairs of layers, with
    q = a/‖a‖₂ and a = Σ_c |f_c|^p at each place (Zagoruyko & Komodakis 2017, Eqs. 1 and 2).

    The larger of two maps is average-pooled to the size of the smaller one first. Equation 2 has
    β/2 and a norm; the mean of squares is what the authors compute and what their weight
    β = 10³/(places · batch) says, and RepDistiller, mdistiller, mmrazor and AberHu do the same.
    A map of one place has no attention: its term is 0.
    """

    Options = ATOptions
    title = "AT"
    place = 200

    def forward(self, step: Step) -> dict[str, Tensor]:
        o = self.options
        terms = [self._distance(*pooled(own, theirs)) for own, theirs in self.maps(step)]
        attention = torch.stack(terms).sum()
        return self.with_labels(step, o.beta * attention, attention=attention)

    def _distance(self, own: Tensor, theirs: Tensor) -> Tensor:
        far = self._attention(own) - self._attention(theirs)
        if self.options.distance == "squared":
            return far.square().mean()
        return torch.linalg.vector_norm(far, dim=1).mean()

    def _attention(self, maps: Tensor) -> Tensor:
        """q (n, places) of maps (n, channels, height, width)."""
        active = maps.abs() if self.options.absolute else maps
        # The mean differs from the sum by a factor that the norm takes out.
        return F.normalize(active.pow(self.options.p).mean(1).flatten(1), dim=1)
