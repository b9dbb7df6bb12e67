"""Cross-entropy with the labels alone: how teachers and independent students are trained."""

from __future__ import annotations

from torch import Tensor

from kdpipe.base.options import Options
from kdpipe.distill.base import Objective, Step, objectives


class LabelsOptions(Options):
    pass


@objectives.register("labels")
class Labels(Objective):
    """Cross-entropy with the labels alone: independent students, ``Ind`` of Ojha et al. 2023."""

    Options = LabelsOptions
    uses_teacher = False
    needs_labels = True

    def forward(self, step: Step) -> dict[str, Tensor]:
        return {"loss": self.label_loss(step)}
