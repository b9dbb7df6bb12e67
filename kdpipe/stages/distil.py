"""Stage ``distil``: one student of one teacher by one objective."""

from __future__ import annotations

from pathlib import Path

import torch

from kdpipe.distill.base import Setting, objectives
from kdpipe.errors import KdpipeError
from kdpipe.paths import ModelRef, StudentRef, teacher_outputs_file
from kdpipe.plugin import PluginRef
from kdpipe.seeding import stream
from kdpipe.stages._training import TrainingSlice, feature_shapes, set_up, train_and_save
from kdpipe.training.artefact import load
from kdpipe.training.teacher import LiveTeacher, TabulatedTeacher, Teacher


class DistilSlice(TrainingSlice):
    ref: StudentRef
    teacher: ModelRef
    objective: PluginRef
    tabulated: bool


def run(slice_: DistilSlice, root: Path, out: Path, code: str = "") -> None:
    """Distil the student and write its three files into ``out``."""
    ref, device = slice_.ref, slice_.compute.device
    setup = set_up(slice_, root, stream("student", ref.pair, ref.method, ref.seed))
    train, n_classes = setup.train, len(setup.subset.classes)

    cls = objectives.get(slice_.objective.name)
    options = cls.Options(**slice_.objective.options)
    layers = cls.teacher_layers(options)
    teacher: Teacher | None = None
    teacher_shapes: dict[str, tuple[int, ...]] = {}
    inputs = {}
    if cls.uses_teacher:
        folder = root / slice_.teacher.path
        inputs["teacher"] = folder / "model.safetensors"
        teacher_network = load(folder, device)
        if teacher_network(train.pixels[:1] / 255).shape[1] != n_classes:
            raise KdpipeError(
                f"The teacher {slice_.teacher.path} does not have the {n_classes} classes of data "
                f"set '{slice_.data.set}'; use a teacher of the same task."
            )
        teacher_shapes = feature_shapes(teacher_network, train, layers)
        if slice_.tabulated:
            path = inputs["teacher_outputs"] = root / teacher_outputs_file(ref.pair)
            teacher = TabulatedTeacher(path, layers, torch.device(device))
        else:
            teacher = LiveTeacher(teacher_network, layers)

    shapes = feature_shapes(setup.network, train, cls.student_layers(options))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream("objective", setup.seed))
        smoothing = slice_.recipe.label_smoothing
        labels = train.labels.cpu()
        setting = Setting(labels, n_classes, shapes, teacher_shapes, smoothing)
        objective = cls(options, setting)
    train_and_save(slice_, setup, objective, teacher, inputs, root, out, code)
