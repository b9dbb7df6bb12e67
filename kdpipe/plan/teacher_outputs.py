"""What is known of a pair's teacher outputs before anything runs.

``teacher_outputs`` decides from the study alone whether its plan has a job for them;
``with_size`` says, with the sizes of the data, whether the job will write a table or decline.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from kdpipe.base.plugin import PluginRef
from kdpipe.data.augment.base import Pipeline
from kdpipe.models.base import Network
from kdpipe.plan.counting import FLOAT, without_weights
from kdpipe.stages.teacher_outputs import too_large
from kdpipe.study.entries import Pair
from kdpipe.study.schema import Study


@dataclass(frozen=True)
class TeacherOutputs:
    """Whether a pair's teacher outputs are stored, and why: those of ``layers`` and the logits, for
    each of the ``views`` of an image, in at most ``bytes``, if these are known."""

    wanted: bool
    reason: str
    layers: tuple[str, ...] = ()
    views: int = 0
    bytes: int = 0


def teacher_outputs(study: Study, pair: Pair) -> TeacherOutputs:
    """Decide whether to tabulate the teacher's outputs, from the study alone.

    Stored outputs lose nothing if the number of views of an image is finite. They save time if the
    students would otherwise ask the teacher for more views than exist. Feature maps are left out,
    because they are large and cost as much to read as to compute. Only with the data is it known
    whether the table fits the limit, see ``stages.teacher_outputs``.
    """
    wish = study.compute.teacher_outputs
    model = study.models[pair.like]
    methods = [m for m in pair.methods.values() if tabulates(m)]
    views = Pipeline(model.augment, seed=0).views
    # Looks do not change how their students are trained: what counts is how many there may be.
    seeds = len(pair.seeds) if study.decide is None else study.decide.at_most
    students, epochs = len(methods) * seeds, (pair.training or model.training).epochs
    if wish == "never":
        return TeacherOutputs(False, "the study says never")
    if not methods:
        return TeacherOutputs(False, "no objective reads only logits or penultimate features")
    if pair.transfer is not None and not pair.transfer.repeats:
        what = "noise" if pair.transfer.noise else "mixtures"
        return TeacherOutputs(False, f"every epoch shows other {what}")
    if views is None:
        return TeacherOutputs(False, "every epoch shows other views")
    layers = sorted(
        {layer for method in methods for layer in method.cls.teacher_layers(method.options)}
    )
    seen = f"{students} students × {epochs} epochs"
    if wish == "auto" and students * epochs <= views:
        return TeacherOutputs(False, f"{seen} are no more than {views} views")
    reason = "the study says always" if wish == "always" else f"{seen} are more than {views} views"
    return TeacherOutputs(True, reason.replace("1 views", "1 view"), tuple(layers), views)


def tabulates(method: PluginRef) -> bool:
    """Whether a table holds everything that an objective reads of the teacher."""
    cls, options = method.cls, method.options
    layers = cls.teacher_layers(options)
    if cls.teacher_gradients(options):
        return False
    return cls.uses_teacher and set(layers) <= {"penultimate"}


@torch.no_grad()
def with_size(
    study: Study, pair: Pair, precision: str, n_classes: int, n_images: int
) -> TeacherOutputs:
    """Whether outputs are stored, and their size, given the numbers of classes and training images.

    The size is an upper limit, because a feature may take half of the assumed precision.
    """
    found = teacher_outputs(study, pair)
    if not found.wanted:
        return found
    teacher = study.models[study.model_of(pair.teacher.members[0])]
    size = study.data.sets[study.models[pair.like].data.set].size
    network = without_weights(teacher.network, n_classes, size, teacher.auxiliary or 0)
    images = torch.zeros(1, 3, size, size, device="meta")
    logits, features = network.with_features(
        images, found.layers, outputs=pair.outputs or "classes"
    )
    # bf16 gives logits of two bytes; a feature behind a layer norm stays at four.
    half = study.compute.teacher_outputs_fp16
    short = FLOAT // 2 if half or precision == "bf16" else FLOAT
    long = FLOAT // 2 if half or _low(network, found.layers, precision) else FLOAT
    numbers = short * logits.numel() + long * sum(x.numel() for x in features.values())
    total = n_images * found.views * numbers
    reason = too_large(total, study.compute.teacher_outputs_gb)
    wanted = not (reason and study.compute.teacher_outputs == "auto")
    return replace(found, wanted=wanted, reason=reason or found.reason, bytes=total)


def _low(network: Network, layers: tuple[str, ...], precision: str) -> bool:
    """Whether all features are bf16 for certain: a layer norm would give fp32."""
    kinds = (type(module).__name__ for module in network.modules())
    return precision == "bf16" and bool(layers) and not any("LayerNorm" in kind for kind in kinds)
