"""Stage ``teacher_outputs``: the teacher's answers to every view of its students' images."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from kdpipe.base.errors import KdpipeError
from kdpipe.base.options import Options, optional
from kdpipe.base.paths import TeacherRef, subset_dir
from kdpipe.base.provenance import write_atomically
from kdpipe.data.augment import AugmentationRef
from kdpipe.data.augment.base import Pipeline
from kdpipe.data.class_maps import ClassMapRef
from kdpipe.data.images import as_float
from kdpipe.data.selection import Selection
from kdpipe.data.store import Subset
from kdpipe.models.base import OutputsOf
from kdpipe.stages.base import Call, Stage
from kdpipe.stages.shared.classes import load_for
from kdpipe.stages.shared.training import load_images
from kdpipe.training import table
from kdpipe.training.compute import Compute
from kdpipe.training.teacher import LiveTeacher


class TeacherOutputsSettings(Options):
    teacher: TeacherRef
    layers: list[str]
    outputs: OutputsOf | None = optional(
        description="Outputs to store as logits; None for those of the classes."
    )
    data: Selection
    class_map: ClassMapRef | None = None
    """How a teacher of other classes decides on those of the data set."""
    augment: list[AugmentationRef]
    batch_size: int
    """Images of one forward pass, as many as in the students' training: rounding depends on it."""
    limit_gb: float
    required: bool
    """Whether a table over the limit is an error; otherwise the teacher runs at every step."""
    fp16: bool = False
    """Round to 16 bits what a training would see in 32."""
    compute: Compute
    classes_of: str | None = optional(
        description="The set whose classes the logits are of, where that is not the images' set."
    )


def run(settings: TeacherOutputsSettings, call: Call) -> None:
    """Write logits and the layers' outputs (views, images, …) to ``call.out``.

    Images are in the order of the training rows, views in that of ``Pipeline.view``, and numbers
    in the precision in which a training would see them, unless ``fp16`` rounds them.

    The logits are those of the classes of the students' data set, in their order, unless the pair
    compares other outputs. Raises KdpipeError when the teacher does not know them, a required table
    would exceed the limit, or a number that of fp16.
    """
    compute = settings.compute
    compute.start()
    subset = Subset(call.root / subset_dir(settings.data.set))
    train = load_images(subset, settings.data, "train", compute.device)
    name = settings.classes_of or settings.data.set
    classes = Subset(call.root / subset_dir(name))
    network = load_for(
        call.root, settings.teacher, classes, name, settings.class_map, compute.device
    )
    teacher = LiveTeacher(
        network, tuple(settings.layers), settings.batch_size, settings.outputs or "classes"
    )
    augment = Pipeline(settings.augment, 0, subset.size)
    views = augment.views
    assert views is not None, "planned for augmentations whose views can be counted"

    def outputs(rows: Tensor, view: int) -> dict[str, Tensor]:
        draws = augment.draws_of(torch.full((len(rows),), view, device=train.labels.device))
        images = augment.apply(as_float(train.uncut[rows].to(train.labels.device)), draws)
        with compute.autocast():
            logits, features = teacher(images, rows)
        found = {"logits": logits, **features}
        return {name: _halved(name, x) for name, x in found.items()} if settings.fp16 else found

    n = len(train.labels)
    shapes = {k: ((views, n, *x.shape[1:]), x.dtype) for k, x in outputs(_first(n), 0).items()}
    if (reason := too_large(table.size_of(shapes), settings.limit_gb)) is not None:
        if settings.required:
            raise KdpipeError(f"{reason}; raise the limit or set compute.teacher_outputs: auto.")
        print(f"No table: {reason}.", flush=True)
        write_atomically(call.out, lambda path: table.decline(path, reason))
        return

    def fill(path: Path) -> None:
        tensors = table.create(path, shapes)
        for view in range(views):
            for rows in torch.arange(n).split(settings.batch_size):
                for name, x in outputs(rows, view).items():
                    tensors[name][view, rows[0] : rows[-1] + 1] = x.cpu()

    write_atomically(call.out, fill)


STAGE = Stage(TeacherOutputsSettings, run)


def _halved(name: str, x: Tensor) -> Tensor:
    half = x.half()
    if not half.isfinite().all() and x.isfinite().all():
        raise KdpipeError(
            f"The teacher's '{name}' exceeds 65504, the largest number of fp16; set "
            f"compute.teacher_outputs_fp16 to false."
        )
    return half


def _first(n: int) -> Tensor:
    return torch.arange(min(2, n))


def too_large(size: int, limit_gb: float) -> str | None:
    """Why a table of ``size`` bytes is not written, or None where it is."""
    if size <= limit_gb * 1e9:
        return None
    return (
        f"the teacher's outputs would take {size / 1e9:.3g} GB, more than "
        f"compute.teacher_outputs_gb: {limit_gb:g}"
    )
