"""What becomes of a pair's teacher outputs, as far as it is known before anything runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from kdpipe.models.base import Network
from kdpipe.plan.counting import without_weights
from kdpipe.plan.pairs import teacher_outputs
from kdpipe.stages.teacher_outputs import too_large

if TYPE_CHECKING:
    from kdpipe.plan.estimate import Estimate

FLOAT = 4


@dataclass(frozen=True)
class TeacherTable:
    """What becomes of a pair's teacher outputs and why; ``views``: images that the teacher
    computes on for it; ``bytes`` at most."""

    written: bool
    reason: str
    set: str
    views: int = 0
    bytes: int = 0


@torch.no_grad()
def teacher_table(name: str, estimate: Estimate) -> TeacherTable:
    """At most: a feature may be kept in half of the precision that is assumed."""
    plan = estimate.plan
    study = plan.study
    pair = study.pairs[name]
    found = teacher_outputs(study, pair)
    data = study.models[pair.like].data
    if not found.wanted:
        return TeacherTable(False, f"no: {found.reason}", data.set)
    teacher = study.models[pair.teacher.model].network
    size = study.data.sets[data.set].size
    network = without_weights(teacher, estimate.images(data.set)[1], size)
    images = torch.zeros(1, 3, size, size, device="meta")
    logits, features = network.with_features(images, found.layers)
    # bf16 gives logits of two bytes; a feature behind a layer norm stays at four.
    half = study.compute.teacher_outputs_fp16
    short = FLOAT // 2 if half or plan.compute.precision == "bf16" else FLOAT
    long = FLOAT // 2 if half or _low(network, found.layers, plan.compute.precision) else FLOAT
    numbers = short * logits.numel() + long * sum(x.numel() for x in features.values())
    views = estimate.training_images(data) * found.views
    total = views * numbers
    reason = too_large(total, study.compute.teacher_outputs_gb)
    if reason and study.compute.teacher_outputs == "auto":
        return TeacherTable(False, f"no: {reason}", data.set, views, total)
    return TeacherTable(True, f"yes: {reason or found.reason}", data.set, views, total)


def _low(network: Network, layers: tuple[str, ...], precision: str) -> bool:
    """Whether all features surely come in bf16: no layer norm gives them in fp32."""
    kinds = (type(module).__name__ for module in network.modules())
    return precision == "bf16" and bool(layers) and not any("LayerNorm" in kind for kind in kinds)
