"""Stage ``distil``: one student of one teacher by one objective."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from kdpipe.base.errors import KdpipeError
from kdpipe.base.options import optional
from kdpipe.base.paths import (
    ModelRef,
    StudentRef,
    TeacherRef,
    teacher_outputs_file,
    weights_of,
)
from kdpipe.base.seeding import stream
from kdpipe.data.class_maps import ClassMapRef
from kdpipe.data.images import as_float
from kdpipe.data.transfer import Transfer
from kdpipe.distill import ObjectiveRef
from kdpipe.distill.base import Objective, Setting
from kdpipe.models.base import Network, OutputsOf
from kdpipe.models.shared.classifier import classifier_of
from kdpipe.stages.base import Call, Stage
from kdpipe.stages.shared.classes import load_for
from kdpipe.stages.shared.reuse import reuse_classifier
from kdpipe.stages.shared.start import StartSettings, start_from
from kdpipe.stages.shared.taught import taught_on
from kdpipe.stages.shared.training import (
    TRIED,
    TrainingSettings,
    feature_shapes,
    set_up,
    stream_of,
    train_and_save,
)
from kdpipe.training.processes import together
from kdpipe.training.shown import Images
from kdpipe.training.table import declined
from kdpipe.training.teacher import LiveTeacher, TabulatedTeacher, Teacher


class DistilSettings(TrainingSettings):
    ref: StudentRef
    teacher: TeacherRef
    class_map: ClassMapRef | None = None
    """How a teacher of other classes decides on those of the data set."""
    objective: ObjectiveRef
    start_as: ModelRef | None = None
    """The independent student with which it shares initial weights, order of the images,
    augmentation and dropout; None where it shares them with no network."""
    init: StartSettings | None = optional(
        description="Another network that its weights start from; None for its own draw."
    )
    outputs: OutputsOf | None = optional(
        description="Outputs that the objective compares; None for those of the classes."
    )
    tabulated: bool
    rounded: bool = False
    """Whether the table, if there is one, holds fp16: another student than the teacher makes."""
    transfer: Transfer | None = optional(description="The images on which it sees its teacher.")


def run(settings: DistilSettings, call: Call) -> None:
    """Distil the student and write its three files into ``call.out``."""
    with together(settings.compute, __name__, settings, call):
        setup = set_up(settings, call.root, stream_of(settings.start_as or settings.ref))
        cls, options = settings.objective.cls, settings.objective.options
        network: Network | None = None
        teacher_shapes: dict[str, tuple[int, ...]] = {}
        classifier: nn.Linear | None = None
        inputs: dict[str, Path] = {}
        outputs = settings.outputs or "classes"
        taught, known = None, setup.train.labels.cpu()
        if settings.transfer is not None:
            setup, taught, inputs = taught_on(settings.transfer, settings, setup, call.root)
            known = setup.train.labels.cpu()
            if taught is not None:
                known = torch.full((len(taught.shown),), -1)
        if settings.init is not None:
            inputs |= start_from(setup.network, settings.init, call.root, setup.seed)
        if cls.uses_teacher:
            network = load_for(
                call.root,
                settings.teacher,
                setup.subset,
                settings.data.set,
                settings.class_map,
                settings.compute.device,
            )
            teacher_shapes = feature_shapes(network, setup.train, cls.teacher_layers(options))
            if (layer := cls.classifier_reads(options)) is not None:
                classifier = _classifier(settings, network, layer, setup.train)
                if (reuse := cls.reuses(options)) is not None:
                    reuse_classifier(setup, reuse, classifier, teacher_shapes[layer])
            inputs |= weights_of(settings.teacher, call.root, "teacher")
        shapes = feature_shapes(setup.network, setup.train, cls.student_layers(options))
        n_classes = len(setup.subset.classes)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream("objective", setup.seed))
            smoothing = settings.recipe.label_smoothing
            setting = Setting(
                known,
                n_classes,
                shapes,
                teacher_shapes,
                smoothing,
                classifier,
                setup.network.groups,
                network.groups if network else {},
            )
            objective: Objective = settings.objective.make(setting)
        layers = objective.reads[1]
        explained = objective.teacher_gradients(objective.options)
        teacher = _teacher(settings, network, layers, explained, call.root) if network else None
        train_and_save(settings, setup, objective, teacher, inputs, call, outputs, taught)


STAGE = Stage(DistilSettings, run)


def _teacher(
    settings: DistilSettings,
    network: Network,
    layers: tuple[str, ...],
    explained: tuple[str, ...],
    root: Path,
) -> Teacher:
    """The table of the teacher's outputs where there is one, else the teacher itself.

    Both give the same numbers, so that which of them it was is no part of the provenance.
    """
    if settings.tabulated:
        path = root / teacher_outputs_file(settings.ref.pair)
        reason = declined(path)
        if reason is None:
            return TabulatedTeacher(path, layers, torch.device(settings.compute.device))
        print(f"The teacher runs at every step: {reason}.", flush=True)
    size = settings.recipe.batch_size // settings.compute.processes
    return LiveTeacher(network, layers, size, settings.outputs or "classes", explained)


def _classifier(settings: DistilSettings, network: Network, layer: str, train: Images) -> nn.Linear:
    """The teacher's last linear map, which reads ``layer``. Raises KdpipeError without one."""
    images = as_float(train.pixels[:TRIED]).to(train.labels.device)
    found = classifier_of(network, images, layer, settings.outputs or "classes")
    if found is None:
        raise KdpipeError(
            f"{settings.objective.name}: the logits of {settings.teacher.path} are no linear map "
            f"of its layer '{layer}'; set teacher_layer to the layer that its last linear layer "
            f"reads, or choose another teacher or objective."
        )
    return found
