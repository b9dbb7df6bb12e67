"""Seeds of a study that looks decide about.

A study with ``decide`` has all its seeds when it is read, so that everything that a seed may
collide with is checked. ``up_to`` gives the study as it is after some looks.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from kdpipe.base.paths import ModelRef, StudentRef
from kdpipe.results.settings import Decide

if TYPE_CHECKING:
    from kdpipe.study.entries import Pair
    from kdpipe.study.schema import Study

Undecided = Collection[tuple[str, str]]
"""Pairs and methods that get the seeds of the next look."""


def give_seeds(study: Study, decide: Decide) -> None:
    """Give the pairs of ``study``, and their student models, the seeds from 0 to the last look.

    It works in place, as the last step of reading a study. Raises ValueError where looks cannot
    decide about the seeds of a pair.
    """
    seeds = list(range(decide.at_most))
    for name, pair in study.pairs.items():
        where = f"pairs.{name}"
        if pair.given:
            raise ValueError(
                f"{where}.given: students that were distilled elsewhere get no further seeds; "
                f"judge them in a study without decide"
            )
        if pair.independent != [pair.student]:
            raise ValueError(
                f"{where}.baselines: with decide, the independent students are those of the "
                f"student model, one for each distilled seed; leave baselines out"
            )
        model = study.models.get(pair.like)
        if model is not None and model.weights is not None:
            raise ValueError(
                f"{where}.student: '{pair.like}' comes from weights, of which there are no further "
                f"seeds; leave decide out"
            )
        _check(f"{where}.seeds", pair.seeds, "seeds" in pair.model_fields_set, decide)
        study.pairs[name] = pair.model_copy(update={"seeds": seeds})
        if model is not None:
            listed = "seeds" in model.model_fields_set
            _check(f"models.{pair.like}.seeds", model.seeds, listed, decide)
            study.models[pair.like] = model.model_copy(update={"seeds": seeds})
    for name, pair in study.pairs.items():
        late = [
            ref.seed
            for ref in pair.teacher.members
            if isinstance(ref, StudentRef) and decide.looks[0] <= ref.seed < decide.at_most
        ]
        if late:
            raise ValueError(
                f"pairs.{name}.teacher: looks decide whether student {late[0]} is distilled; give "
                f"it the seed {decide.at_most} or a higher one"
            )
    taken = [(f"pairs.{name}.teacher", r) for name, p in study.pairs.items() for r in _models(p)]
    for name, pair in study.pairs.items():
        if pair.init is not None and isinstance(pair.init.of, ModelRef):
            taken.append((f"pairs.{name}.init.from", pair.init.of))
    for name, probe in study.probes.items():
        taken += [(f"probes.{name}", ref) for ref in probe.cls.networks(probe.options)]
    students = {pair.student for pair in study.pairs.values()}
    for where, ref in taken:
        if ref.model in students and ref.seed < decide.at_most:
            raise ValueError(
                f"{where}: seed {ref.seed} of '{ref.model}' is an independent student that only "
                f"further looks may ask for; give it the seed {decide.at_most} or a higher one"
            )


def _models(pair: Pair) -> list[ModelRef]:
    return [ref for ref in pair.teacher.members if isinstance(ref, ModelRef)]


def _check(where: str, seeds: list[int], given: bool, decide: Decide) -> None:
    if given and seeds != list(range(decide.at_most)):
        raise ValueError(
            f"{where}: decide says which seeds there are, 0 to {decide.at_most - 1} at most; leave "
            f"seeds out"
        )


def everything(study: Study) -> list[Undecided]:
    """What looks find where nothing is ever decided: then a study has all its seeds."""
    if study.decide is None:
        return []
    all_of_them = {(name, method) for name, pair in study.pairs.items() for method in pair.methods}
    return [all_of_them] * (len(study.decide.looks) - 1)


def next_look(decide: Decide | None, taken: Sequence[Undecided]) -> int | None:
    """The number, from 1, of the look that says which seeds come next; None where nothing is left
    to say: the last look asks for no seeds, and neither does one that found all decided.

    ``taken``: what the looks before it found undecided.
    """
    if decide is None or len(taken) >= len(decide.looks) - 1 or (taken and not taken[-1]):
        return None
    return len(taken) + 1


def up_to(study: Study, taken: Sequence[Undecided]) -> Study:
    """``study`` with the seeds that are there after the looks ``taken``; one without ``decide`` is
    itself."""
    if study.decide is None:
        return study
    looks = study.decide.looks
    pairs = {}
    for name, pair in study.pairs.items():
        reached = {}
        for method in pair.methods:
            passed = 0
            while passed < len(taken) and (name, method) in taken[passed]:
                passed += 1
            reached[method] = looks[passed]
        pairs[name] = pair.up_to(reached)
    longest = {
        model: max((len(p.seeds) for p in pairs.values() if p.student == model), default=None)
        for model in study.models
    }
    models = {
        name: model.model_copy(update={"seeds": model.seeds[: longest[name]]})
        for name, model in study.models.items()
    }
    return study.model_copy(update={"pairs": pairs, "models": models})
