"""What follows from a pair of a study and is not written in it."""

from __future__ import annotations

from dataclasses import dataclass

from kdpipe.base.errors import KdpipeError
from kdpipe.base.paths import ModelRef
from kdpipe.base.plugin import PluginRef
from kdpipe.data.augment.base import Pipeline
from kdpipe.study.entries import Pair
from kdpipe.study.schema import Study


def resolved_probe(study: Study, instance: str, pair: Pair) -> PluginRef:
    """The probe's options with set, domains and class map filled in."""
    ref, data = study.probes[instance], study.models[pair.like].data
    which, domains = ref.options.set or data.set, ref.options.domains or data.domains
    if ref.options.primary is not None and ref.options.primary not in domains:
        raise KdpipeError(
            f"probes.{instance}.primary: '{ref.options.primary}' is not among its domains "
            f"{', '.join(domains)}."
        )
    class_map = ref.options.class_map or study.data.sets[which].class_map
    try:
        return ref.with_options(set=which, domains=domains, class_map=class_map)
    except KdpipeError as error:
        raise KdpipeError(f"probes.{instance}: {error}") from None


def second_teacher(study: Study, pair: Pair) -> ModelRef | None:
    """Another training run of the teacher: its similarity to the teacher is the ceiling."""
    others = [s for s in study.models[pair.teacher.model].seeds if s != pair.teacher.seed]
    # A teacher that is a further seed of the independent students has no ceiling of its own.
    if not others or pair.teacher.model in pair.independent:
        return None
    return ModelRef(model=pair.teacher.model, seed=others[0])


@dataclass(frozen=True)
class TeacherOutputs:
    """Whether a pair's teacher is tabulated, and why; ``layers`` beside the logits."""

    wanted: bool
    reason: str
    layers: tuple[str, ...] = ()
    views: int = 0


def teacher_outputs(study: Study, pair: Pair) -> TeacherOutputs:
    """Decide whether to tabulate the teacher's outputs, from the study alone.

    Lossless where the views that a student gets of an image can be counted, and worth it where
    the students would have the teacher compute more views than there are. Feature maps are left
    out: they are large and cost as much to read as to compute. Whether the table fits the limit
    is only known with the data, see ``stages.teacher_outputs``.
    """
    wish = study.compute.teacher_outputs
    model = study.models[pair.like]
    methods = [m for m in pair.methods.values() if tabulates(m)]
    views = Pipeline(model.augment, seed=0).views
    students, epochs = len(methods) * len(pair.seeds), (pair.training or model.training).epochs
    if wish == "never":
        return TeacherOutputs(False, "the study says never")
    if not methods:
        return TeacherOutputs(False, "no objective reads only logits or penultimate features")
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
    """Whether an objective reads nothing of the teacher but what a table holds."""
    layers = method.cls.teacher_layers(method.options)
    return method.cls.uses_teacher and set(layers) <= {"penultimate"}
