"""What follows from a pair of a study and is not written in it."""

from __future__ import annotations

from kdpipe.distill.base import objectives
from kdpipe.errors import KdpipeError
from kdpipe.paths import ModelRef
from kdpipe.plugin import PluginRef
from kdpipe.study import Pair, Study


def resolved_probe(study: Study, instance: str, pair: Pair) -> PluginRef:
    """The probe's options with set, domains and class map filled in."""
    ref = study.probes[instance]
    data = study.models[pair.student].data
    options = dict(ref.options)
    options["set"] = options["set"] or data.set
    options["domains"] = options["domains"] or data.domains
    if options["class_map"] is None:
        own = study.data.sets[options["set"]].class_map
        options["class_map"] = own.model_dump(mode="json") if own else None
    if options["primary"] is not None and options["primary"] not in options["domains"]:
        raise KdpipeError(
            f"probes.{instance}.primary: '{options['primary']}' is not among its domains "
            f"{', '.join(options['domains'])}."
        )
    return PluginRef(name=ref.name, options=options)


def second_teacher(study: Study, pair: Pair) -> ModelRef | None:
    """Another training run of the teacher: its similarity to the teacher is the ceiling."""
    others = [s for s in study.models[pair.teacher.model].seeds if s != pair.teacher.seed]
    # A teacher that is a further seed of the independent students has no ceiling of its own.
    if not others or pair.teacher.model == pair.student:
        return None
    return ModelRef(model=pair.teacher.model, seed=others[0])


def tabulated_layers(study: Study, pair: Pair) -> list[str] | None:
    """Teacher layers to tabulate, or None where tabulating would not be lossless or pay.

    Lossless where the student sees each image in one view only; feature maps are left out,
    they are large and cost as much to read as to compute.
    """
    if study.models[pair.student].augment:
        return None
    kinds = [(objectives.get(m.name), m) for m in pair.methods.values()]
    layers = {
        layer
        for cls, ref in kinds
        if cls.uses_teacher and tabulates(ref)
        for layer in cls.teacher_layers(cls.Options(**ref.options))
    }
    wanted = any(cls.uses_teacher and tabulates(ref) for cls, ref in kinds)
    return sorted(layers) if wanted else None


def tabulates(method: PluginRef) -> bool:
    cls = objectives.get(method.name)
    return set(cls.teacher_layers(cls.Options(**method.options))) <= {"penultimate"}
