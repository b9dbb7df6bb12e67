"""Stage ``distil``: one student of one teacher by one objective."""

from __future__ import annotations

from pathlib import Path

import torch

from kdpipe.data.augment.base import Pipeline
from kdpipe.data.selection import Selection
from kdpipe.data.store import Subset
from kdpipe.distill.base import Setting, objectives
from kdpipe.errors import KdpipeError
from kdpipe.options import Options
from kdpipe.paths import ModelRef, StudentRef, subset_dir, teacher_outputs_file
from kdpipe.plugin import PluginRef
from kdpipe.provenance import provenance
from kdpipe.seeding import stream
from kdpipe.stages._training import (
    describe,
    feature_shapes,
    load_images,
    new_network,
    open_checkpoint,
)
from kdpipe.training.artefact import load, save
from kdpipe.training.compute import Compute
from kdpipe.training.loop import fit
from kdpipe.training.recipe import Recipe
from kdpipe.training.teacher import LiveTeacher, TabulatedTeacher, Teacher


class DistilSlice(Options):
    ref: StudentRef
    teacher: ModelRef
    objective: PluginRef
    tabulated: bool
    network: PluginRef
    data: Selection
    augment: list[PluginRef]
    recipe: Recipe
    compute: Compute


def run(slice_: DistilSlice, root: Path, out: Path, code: str = "") -> None:
    """Distil the student and write its three files into ``out``."""
    slice_.compute.start()
    device = slice_.compute.device
    subset = Subset(root / subset_dir(slice_.data.set))
    train = load_images(subset, slice_.data, "train", device)
    val = load_images(subset, slice_.data, "val", device)
    ref = slice_.ref
    seed = stream("student", ref.pair, ref.method, ref.seed)
    network = new_network(slice_.network, subset, train, stream("weights", seed), device)

    cls = objectives.get(slice_.objective.name)
    options = cls.Options(**slice_.objective.options)
    layers = cls.teacher_layers(options)
    teacher: Teacher | None = None
    teacher_shapes: dict[str, tuple[int, ...]] = {}
    inputs = {"subset.json": subset.folder / "subset.json"}
    if cls.uses_teacher:
        folder = root / slice_.teacher.path
        inputs["teacher"] = folder / "model.safetensors"
        teacher_network = load(folder, device)
        if teacher_network(train.pixels[:1] / 255).shape[1] != len(subset.classes):
            raise KdpipeError(
                f"The teacher {slice_.teacher.path} does not have the {len(subset.classes)} "
                f"classes of data set '{slice_.data.set}'; use a teacher of the same task."
            )
        teacher_shapes = feature_shapes(teacher_network, train, layers)
        if slice_.tabulated:
            path = root / teacher_outputs_file(ref.pair)
            teacher = TabulatedTeacher(path, layers, torch.device(device))
        else:
            teacher = LiveTeacher(teacher_network, layers)

    shapes = feature_shapes(network, train, cls.student_layers(options))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream("objective", seed))
        objective = cls(
            options, Setting(train.labels.cpu(), len(subset.classes), shapes, teacher_shapes)
        ).to(device)
    made_from = provenance(slice_, inputs)
    checkpoint = open_checkpoint(root, code, made_from)
    history = fit(
        network,
        objective,
        teacher,
        train,
        val,
        slice_.recipe,
        Pipeline(slice_.augment, seed),
        slice_.compute,
        seed,
        checkpoint,
    )
    about = describe(network, slice_.network, subset, train)
    save(out, network, {**about, "provenance": made_from}, history)
    checkpoint.remove()
