"""What a pair of a study implies without saying it."""

from __future__ import annotations

from typing import Any

from kdpipe.base.errors import KdpipeError
from kdpipe.base.paths import MeanRef, ModelRef, NetworkRef, StudentRef
from kdpipe.base.plugin import PluginRef
from kdpipe.data.selection import Selection
from kdpipe.stages.shared.start import StartSettings
from kdpipe.study.entries import Pair
from kdpipe.study.schema import Study


def resolved_probe(study: Study, instance: str, pair: Pair) -> PluginRef:
    """The probe's options with set, domains, class map and training images filled in."""
    ref, data = study.probes[instance], study.models[pair.like].data
    filled = _of_pair(study, instance, pair)
    which = filled.get("set", ref.options.set or data.set)
    domains = filled.get("domains", ref.options.domains or data.domains)
    if ref.options.primary is not None and ref.options.primary not in domains:
        raise KdpipeError(
            f"probes.{instance}.primary: '{ref.options.primary}' is not among its domains "
            f"{', '.join(domains)}."
        )
    class_map = ref.options.class_map or study.data.sets[which].class_map
    try:
        changes = {**filled, "set": which, "domains": domains, "class_map": class_map}
        return ref.with_options(**changes)
    except KdpipeError as error:
        raise KdpipeError(f"probes.{instance}: {error}") from None


def _of_pair(study: Study, instance: str, pair: Pair) -> dict[str, Any]:
    """What a probe of training images takes from the pair."""
    ref = study.probes[instance]
    trained = [study.models[study.model_of(one)].data for one in pair.teacher.members]
    teacher = trained[0]
    models = [pair.like, *pair.independent, *(m for given in pair.given.values() for m in given)]
    seen = [study.models[name].data for name in models]
    if (taught := taught_images(study, pair)) is not None:
        seen.append(taught)
    students = [data for k, data in enumerate(seen) if data not in seen[:k]]
    filled = ref.cls.of_pair(ref.options, teacher, students)
    if filled and any(data != teacher for data in trained):
        raise KdpipeError(
            f"probes.{instance}: the networks that teach together were trained on different "
            f"images, so that there are no images of the teacher; leave the probe out."
        )
    for data in students if filled else ():
        one, two = (study.data.sets[name] for name in (data.set, teacher.set))
        if data.set != teacher.set and one.source == two.source:
            raise KdpipeError(
                f"probes.{instance}: teacher and students are trained on the data sets "
                f"'{teacher.set}' and '{data.set}' of the same source, so that nobody can tell "
                f"which images both have seen; train them on parts of one set."
            )
    return filled


def second_teacher(study: Study, pair: Pair) -> NetworkRef | None:
    """Another training run of the teacher: its similarity to the teacher is the ceiling.

    Of a distilled teacher another student of its pair; none of several networks.
    """
    ref = pair.teacher
    if isinstance(ref, MeanRef):
        return None
    if isinstance(ref, StudentRef):
        others = [s for s in study.pairs[ref.pair].seeds if s != ref.seed]
        return ref.model_copy(update={"seed": others[0]}) if others else None
    others = [s for s in study.models[ref.model].seeds if s != ref.seed]
    # A teacher that is a further seed of the independent students has no ceiling of its own.
    if not others or ref.model in pair.independent:
        return None
    return ModelRef(model=ref.model, seed=others[0])


def floor(study: Study, pair: Pair) -> ModelRef | None:
    """An untrained network of the student's architecture: its similarity to the teacher is the
    floor. None where the study has none, or independent students are untrained themselves."""
    like = study.models[pair.like]
    for name, model in study.models.items():
        alike = (model.network, model.auxiliary) == (like.network, like.auxiliary)
        untrained = model.weights is None and not model.training.epochs
        if untrained and alike and model.data.set == like.data.set and name not in pair.independent:
            refs = [ModelRef(model=name, seed=seed) for seed in model.seeds]
            if others := [ref for ref in refs if ref not in pair.teacher.members]:
                return others[0]
    return None


def taught_images(study: Study, pair: Pair) -> Selection | None:
    """The images on which the students of a pair see their teacher; None for noise."""
    own = study.models[pair.like].data
    return own if pair.transfer is None else pair.transfer.selection(own)


def start_settings(study: Study, pair: Pair) -> StartSettings | None:
    """Where students of a pair start, if not from their own draw."""
    if pair.init is None:
        return None
    ref = study.start_network(pair)
    model = study.models[study.model_of(ref)]
    shared = study.pairs[ref.pair] if isinstance(ref, StudentRef) else None
    return StartSettings(
        ref=ref,
        at=pair.init.at,
        noise=pair.init.noise,
        layers=pair.init.layers,
        network=model.network,
        auxiliary=model.auxiliary or 0,
        set=model.data.set,
        drawn_as=study.start_of(shared, ref.seed) if shared else None,
    )
