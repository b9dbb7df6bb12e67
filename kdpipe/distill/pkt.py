"""Probabilistic knowledge transfer: who is near whom is distributed as for the teacher."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from kdpipe.distill.base import objectives
from kdpipe.distill.shared.relations import Relation, RelationOptions, directions


class PKTOptions(RelationOptions):
    beta: float = Field(30000.0, ge=0, description="Weight of the divergence.")
    epsilon: float = Field(
        1e-7,
        gt=0,
        description="Added to norms and probabilities before they divide; Knowledge-Distillation-"
        "Zoo takes 1e-6.",
    )


@objectives.register("pkt")
class PKT(Relation):
    """γ·CE + β·Σ_ij P_t log(P_t / P_s) / n² (Passalis & Tefas 2018).

    P_ij, the chance that image i takes image j of the n of a batch for its neighbour, is
    (1 + cos(f_i, f_j)) / 2, divided by the row's sum. As in the authors' code and all libraries,
    an image is a neighbour of itself too, and the sum is divided by n²: hence β = 30000.
    """

    Options = PKTOptions
    title = "PKT"
    place = 62

    def terms(self, student: Tensor, teacher: Tensor) -> dict[str, tuple[float, Tensor]]:
        eps = self.options.epsilon
        own, theirs = (neighbours(x, eps) for x in (student, teacher))
        divergence = (theirs * ((theirs + eps) / (own + eps)).log()).mean()
        return {"pkt": (self.options.beta, divergence)}


def neighbours(x: Tensor, eps: float) -> Tensor:
    """P (n, n), whose rows sum to 1, of the features (n, width)."""
    unit = directions(x, eps)
    near = (1 + unit @ unit.T) / 2
    return near / near.sum(1, keepdim=True)
