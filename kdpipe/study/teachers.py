"""The key ``teacher`` of a pair: a model, a distilled student, or several networks.

What a study alone tells of teachers, and of the networks that students start from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Discriminator, Tag

from kdpipe.base.paths import MeanRef, ModelRef, NetworkRef, StudentRef, TeacherRef
from kdpipe.base.plugin import PluginRef

if TYPE_CHECKING:
    from kdpipe.study.entries import Pair
    from kdpipe.study.schema import Study


def _kind(raw: Any) -> str:
    if isinstance(raw, MeanRef | list) or (isinstance(raw, dict) and "networks" in raw):
        return "<mean>"
    return "<student>" if _distilled(raw) else "<model>"


def _distilled(raw: Any) -> bool:
    return isinstance(raw, StudentRef) or (isinstance(raw, dict) and "pair" in raw)


def _listed(raw: Any) -> Any:
    return {"networks": raw} if isinstance(raw, list) else raw


def _one(ref: TeacherRef) -> TeacherRef:
    """The mean of a single network, however often it is named, is this network."""
    return ref.members[0] if len(set(ref.members)) == 1 else ref


Teacher = Annotated[
    Annotated[ModelRef, Tag("<model>")]
    | Annotated[StudentRef, Tag("<student>")]
    | Annotated[
        MeanRef,
        BeforeValidator(_listed, json_schema_input_type=list[ModelRef | StudentRef]),
        Tag("<mean>"),
    ],
    Discriminator(_kind),
    AfterValidator(_one),
]


def check_teacher(study: Study, where: str, pair: Pair) -> None:
    """Raise ValueError unless the networks that teach a pair are there, and are none of its
    students."""
    for ref in pair.teacher.members:
        check_there(study, f"{where}.teacher", ref)
        if ref in study.independents(pair).values():
            raise ValueError(
                f"{where}.teacher: seed {ref.seed} of '{ref.called}' is also an independent "
                f"student; give the teacher a seed that is not in models.{ref.called}.seeds"
            )
        # A distilled teacher shares the draws of the independent student of its seed, if any.
        drawn = (
            ref if isinstance(ref, ModelRef) else study.start_of(study.pairs[ref.pair], ref.seed)
        )
        if drawn not in study.starts(pair):
            continue
        remedy = (
            f"because students are paired; leave {ref.seed} out of the seeds, give the teacher "
            f"another seed, or set paired: false"
        )
        if pair.init is not None:
            raise ValueError(
                f"{where}.seeds: student {ref.seed} would see its images in the same order as its "
                f"teacher, with the same augmentation and dropout, {remedy}"
            )
        raise ValueError(
            f"{where}.seeds: student {ref.seed} would start from the same weights as its teacher, "
            f"seed {ref.seed} of '{ref.called}', {remedy}; init asks for such a start"
        )
    _check_circle(where, where.partition(".")[2], lambda name: _taught_by(study.pairs[name]))
    if isinstance(pair.teacher, MeanRef):
        _check_mean(
            where, pair.methods, {k: study.probes[k] for k in pair.probes if k in study.probes}
        )


def check_there(study: Study, where: str, ref: NetworkRef) -> None:
    """Raise ValueError unless the study can make the network."""
    if isinstance(ref, ModelRef):
        if ref.model not in study.models:
            raise ValueError(
                f"{where}.model: there is no model '{ref.model}' under models; there are "
                f"{', '.join(study.models)}"
            )
        study.check_seed(where, ref)
        return
    if ref.pair not in study.pairs:
        raise ValueError(
            f"{where}.pair: there is no pair '{ref.pair}' under pairs; there are "
            f"{', '.join(study.pairs)}"
        )
    other = study.pairs[ref.pair]
    if ref.method not in other.methods:
        has = f"it has {', '.join(other.methods)}" if other.methods else "it distils nothing"
        raise ValueError(
            f"{where}.method: pair '{ref.pair}' has no method '{ref.method}' that distils; {has}"
        )


def _taught_by(pair: Pair) -> list[str]:
    """Pairs whose students a pair needs before it."""
    return [ref.pair for ref in pair.teacher.members if isinstance(ref, StudentRef)]


def check_start(study: Study, where: str, pair: Pair) -> None:
    """Raise ValueError unless students can start where ``init`` says."""
    assert pair.init is not None
    try:
        ref = study.start_network(pair)
    except ValueError as error:
        raise ValueError(f"{where}.{error}") from None
    check_there(study, f"{where}.init.from", ref)
    if pair.init.at == "end":
        return
    if isinstance(ref, ModelRef) and study.models[ref.model].weights:
        raise ValueError(
            f"{where}.init.at: '{ref.model}' comes from weights, and where their training started "
            f"is unknown; say at: end"
        )
    if isinstance(ref, StudentRef) and study.pairs[ref.pair].init:
        raise ValueError(
            f"{where}.init.at: students of pairs.{ref.pair} start where its own init says; say "
            f"at: end, or name that network"
        )


def _check_mean(
    where: str, methods: Mapping[str, PluginRef], probes: Mapping[str, PluginRef]
) -> None:
    """Raise ValueError for an objective or a probe that needs a single network as the teacher."""
    for name, ref in methods.items():
        cls, options = ref.cls, ref.options
        inside = cls.teacher_layers(options) or cls.classifier_reads(options) is not None
        if cls.uses_teacher and inside:
            raise ValueError(
                f"{where}.methods.{name}: the objective '{ref.name}' reads layers of the teacher, "
                f"and the mean of several networks has none; name one network as the teacher, or "
                f"leave the method out"
            )
    for name, ref in probes.items():
        cls = ref.cls
        if (cls.relational or cls.on_teacher) and (
            cls.looks_inside or cls.prepared or cls.calibrated
        ):
            raise ValueError(
                f"{where}.probes: '{name}' looks into the teacher, or attacks it, and the mean of "
                f"several networks only has answers; name one network as the teacher, or leave "
                f"the probe out"
            )


def _check_circle(
    where: str, start: str, taught_by: Callable[[str], list[str]], seen: tuple[str, ...] = ()
) -> None:
    """Raise ValueError if the pair ``start`` would be distilled before itself.

    ``taught_by``: the pairs whose students a pair needs.
    """
    for other in taught_by(start):
        if other in (start, *seen):
            chain = " → ".join([*seen, start, other])
            raise ValueError(
                f"{where}.teacher: students of a pair cannot teach themselves ({chain}); name a "
                f"teacher that is distilled before"
            )
        _check_circle(where, other, taught_by, (*seen, start))
