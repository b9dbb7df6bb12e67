"""Similarity-preserving distillation: images alike to the teacher are alike to the student."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from kdpipe.distill.base import objectives
from kdpipe.distill.shared.relations import Relation, RelationOptions


class SPOptions(RelationOptions):
    beta: float = Field(3000.0, ge=0, description="Weight of the similarity term.")
    layer: str = Field("cam", description="Layer of the student.")
    teacher_layer: str = Field("cam", description="Layer of the teacher.")
    norm: Literal["l2", "l1"] = Field(
        "l2",
        description="Norm by which each row of a similarity matrix is divided: l2 as in the paper, "
        "or l1 as in torchdistill.",
    )


@objectives.register("sp")
class SP(Relation):
    """γ·CE + β·‖G̃_t − G̃_s‖²_F / n² (Tung & Mori 2019).

    G = F·Fᵀ (n, n) holds the products of the flattened features of all pairs of the n images of a
    batch, and G̃ is G with each row divided by its L2 norm. The paper reads the last convolution
    (``cam``), as RepDistiller and mdistiller do, with β = 3000. torchdistill divides rows by their
    L1 norm: ``norm: l1``. The teacher's outputs can come from a table where both layers are
    ``penultimate``.
    """

    Options = SPOptions
    title = "SP"
    place = 60

    def terms(self, student: Tensor, teacher: Tensor) -> dict[str, tuple[float, Tensor]]:
        order = {"l2": 2, "l1": 1}[self.options.norm]
        own, theirs = (F.normalize(x @ x.T, p=order, dim=1) for x in (student, teacher))
        return {"sp": (self.options.beta, (theirs - own).square().mean())}
