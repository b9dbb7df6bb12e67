"""Stage ``distil``: one student of one teacher by one objective."""

from __future__ import annotations

from pathlib import Path

import torch

from kdpipe.data.images import as_float
from kdpipe.distill.base import Setting, objectives
from kdpipe.errors import KdpipeError
from kdpipe.models.base import Network
from kdpipe.paths import ModelRef, StudentRef, teacher_outputs_file
from kdpipe.plugin import PluginRef
from kdpipe.seeding import stream
from kdpipe.stages._training import (
    Setup,
    TrainingSlice,
    feature_shapes,
    set_up,
    train_and_save,
)
from kdpipe.training.artefact import load
from kdpipe.training.processes import together
from kdpipe.training.table import declined
from kdpipe.training.teacher import LiveTeacher, TabulatedTeacher, Teacher


class DistilSlice(TrainingSlice):
    ref: StudentRef
    teacher: ModelRef
    objective: PluginRef
    tabulated: bool
    rounded: bool = False
    """Whether the table, if there is one, holds fp16: another student than the teacher makes."""


def run(slice_: DistilSlice, root: Path, out: Path, code: str = "") -> None:
    """Distil the student and write its three files into ``out``."""
    with together(slice_.compute, __name__, slice_, root, out, code):
        ref = slice_.ref
        setup = set_up(slice_, root, stream("student", ref.pair, ref.method, ref.seed))
        cls = objectives.get(slice_.objective.name)
        options = cls.Options(**slice_.objective.options)
        layers = cls.teacher_layers(options)
        teacher: Teacher | None = None
        teacher_shapes: dict[str, tuple[int, ...]] = {}
        inputs: dict[str, Path] = {}
        if cls.uses_teacher:
            network = _teacher_network(slice_, setup, root)
            teacher_shapes = feature_shapes(network, setup.train, layers)
            teacher = _teacher(slice_, network, layers, root)
            inputs["teacher"] = root / slice_.teacher.path / "model.safetensors"
        shapes = feature_shapes(setup.network, setup.train, cls.student_layers(options))
        n_classes = len(setup.subset.classes)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream("objective", setup.seed))
            labels = setup.train.labels.cpu()
            smoothing = slice_.recipe.label_smoothing
            setting = Setting(labels, n_classes, shapes, teacher_shapes, smoothing)
            objective = cls(options, setting)
        train_and_save(slice_, setup, objective, teacher, inputs, root, out, code)


def _teacher_network(slice_: DistilSlice, setup: Setup, root: Path) -> Network:
    """The teacher's network. Raises KdpipeError unless it knows the classes of the data set."""
    network = load(root / slice_.teacher.path, slice_.compute.device)
    n_classes = len(setup.subset.classes)
    one = as_float(setup.train.pixels[:1]).to(slice_.compute.device)
    if network(one).shape[1] != n_classes:
        raise KdpipeError(
            f"The teacher {slice_.teacher.path} does not have the {n_classes} classes of data "
            f"set '{slice_.data.set}'; use a teacher of the same task."
        )
    return network


def _teacher(slice_: DistilSlice, network: Network, layers: tuple[str, ...], root: Path) -> Teacher:
    """The table of the teacher's outputs where there is one, else the teacher itself.

    Both give the same numbers, so that which of them it was is no part of the provenance.
    """
    if slice_.tabulated:
        path = root / teacher_outputs_file(slice_.ref.pair)
        reason = declined(path)
        if reason is None:
            return TabulatedTeacher(path, layers, torch.device(slice_.compute.device))
        print(f"The teacher runs at every step: {reason}.", flush=True)
    size = slice_.recipe.batch_size // slice_.compute.processes
    return LiveTeacher(network, layers, size)
