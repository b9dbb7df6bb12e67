"""Correlation congruence: a kernel between images takes the values that it has for the teacher."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from kdpipe.distill.base import Setting, objectives
from kdpipe.distill.shared.relations import Relation, RelationOptions, directions


class CCOptions(RelationOptions):
    beta: float = Field(
        100.0,
        ge=0,
        description="Weight of the congruence term; RepDistiller takes 0.02 with its own formula "
        "(kernel: neighbours).",
    )
    kernel: Literal["gaussian", "bilinear", "neighbours"] = Field(
        "gaussian",
        description="gaussian and bilinear are the paper's kernels; neighbours is RepDistiller's "
        "formula, which compares each image with the next one of its batch.",
    )
    width: float = Field(
        0.4, gt=0, description="Of the gaussian kernel, e^{−width·‖a − b‖²}; the paper's γ."
    )
    order: int = Field(2, ge=1, le=20, description="Of the Taylor series of the gaussian kernel.")
    dimension: int = Field(128, ge=1, description="Of the embeddings of neighbours.")


@objectives.register("cc")
class CC(Relation):
    """γ·CE + β·‖K_t − K_s‖²_F / n² (Peng et al. 2019).

    K (n, n) holds a kernel of all pairs of the n images of a batch. ``gaussian``: of features with
    norm 1, e^{−2w} Σ_{p=0}^{P} (2w)^p/p!·(a·b)^p with w = 0.4 and P = 2; β = 100 as in
    Knowledge-Distillation-Zoo. ``bilinear``: the product of the features as they are. torchdistill
    takes the norm of K_t − K_s where the paper takes its square.

    ``neighbours`` is another formula, of RepDistiller: with e = E_s(f_s) − E_t(f_t), the difference
    of two learned linear maps, Σ_k |e_i|_k·|e_{i+1}|_k, mean over the n − 1 neighbours in the order
    of the batch. It compares student and teacher image by image, no relations between images.
    """

    Options = CCOptions
    title = "CC"
    place = 63

    def __init__(self, options: CCOptions, setting: Setting) -> None:
        super().__init__(options, setting)
        if options.kernel == "neighbours":
            shapes = setting.shapes[options.layer], setting.teacher_shapes[options.teacher_layer]
            self.embed, self.teacher_embed = (
                nn.Linear(math.prod(shape), options.dimension) for shape in shapes
            )

    def terms(self, student: Tensor, teacher: Tensor) -> dict[str, tuple[float, Tensor]]:
        if self.options.kernel == "neighbours":
            apart = (self.embed(student) - self.teacher_embed(teacher)).abs()
            congruence = (apart[:-1] * apart[1:]).sum() / max(1, len(apart) - 1)
        else:
            congruence = (self.kernel(teacher) - self.kernel(student)).square().mean()
        return {"cc": (self.options.beta, congruence)}

    def kernel(self, x: Tensor) -> Tensor:
        """K (n, n) of the features (n, width)."""
        if self.options.kernel == "bilinear":
            return x @ x.T
        unit, twice = directions(x), 2 * self.options.width
        dot = unit @ unit.T
        series = sum(
            twice**p / math.factorial(p) * dot**p for p in range(1, self.options.order + 1)
        )
        return math.exp(-twice) * (1 + series)
