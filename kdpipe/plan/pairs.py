"""What a pair of a study implies without saying it."""

from __future__ import annotations

from kdpipe.base.errors import KdpipeError
from kdpipe.base.paths import ModelRef
from kdpipe.base.plugin import PluginRef
from kdpipe.data.selection import Selection
from kdpipe.stages.shared.start import StartSettings
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


def taught_images(study: Study, pair: Pair) -> Selection | None:
    """The images on which the students of a pair see their teacher; None for noise."""
    own = study.models[pair.like].data
    return own if pair.transfer is None else pair.transfer.selection(own)


def start_settings(study: Study, pair: Pair) -> StartSettings | None:
    """Where students of a pair start, if not from their own draw."""
    if pair.init is None:
        return None
    ref = study.start_network(pair)
    model = study.models[ref.model]
    return StartSettings(
        ref=ref,
        at=pair.init.at,
        noise=pair.init.noise,
        layers=pair.init.layers,
        network=model.network,
        auxiliary=model.auxiliary or 0,
        set=model.data.set,
        drawn_as=None,
    )
