"""Stage ``teacher_outputs``: the teacher's answers to every training image of its students."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file

from kdpipe.data.images import as_float
from kdpipe.data.selection import Selection
from kdpipe.data.store import Subset
from kdpipe.options import Options
from kdpipe.paths import ModelRef, subset_dir
from kdpipe.provenance import write_atomically
from kdpipe.stages._training import load_images
from kdpipe.training.artefact import load
from kdpipe.training.compute import Compute


class TeacherOutputsSlice(Options):
    teacher: ModelRef
    layers: list[str]
    data: Selection
    batch_size: int
    compute: Compute


@torch.no_grad()
def run(slice_: TeacherOutputsSlice, root: Path, out: Path) -> None:
    """Write logits and the layers' outputs, in the order of the training rows, to ``out``.

    Only for trainings without augmentation: then every epoch shows the teacher the same views.
    """
    slice_.compute.start()
    subset = Subset(root / subset_dir(slice_.data.set))
    train = load_images(subset, slice_.data, "train", slice_.compute.device)
    teacher = load(root / slice_.teacher.path, slice_.compute.device)
    parts: dict[str, list[torch.Tensor]] = {}
    for pixels in train.pixels.split(slice_.batch_size):
        images = as_float(pixels)
        with slice_.compute.autocast():
            logits, features = teacher.with_features(images, slice_.layers)
        for name, tensor in {"logits": logits, **features}.items():
            parts.setdefault(name, []).append(tensor.cpu())
    table = {name: torch.cat(tensors).contiguous() for name, tensors in parts.items()}
    write_atomically(out, lambda p: save_file(table, p))
