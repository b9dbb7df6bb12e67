"""The part of the plan that comes after measuring: tables, figures, report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kdpipe.figures.methods import MANY
from kdpipe.figures.shared.find import figure_names, find_figure
from kdpipe.plan.pairs import floor, second_teacher
from kdpipe.probes import probes
from kdpipe.stages.figures import FiguresSettings
from kdpipe.stages.look import LookSettings
from kdpipe.stages.report import ReportSettings
from kdpipe.stages.tables import InstanceSettings, PairSettings, TablesSettings
from kdpipe.study.decide import Undecided, up_to
from kdpipe.study.entries import Pair
from kdpipe.study.expected import expectations
from kdpipe.study.schema import Study
from kdpipe.training.compute import Compute


def tables_settings(study: Study) -> TablesSettings:
    pairs = [_pair(study, name, pair) for name, pair in study.pairs.items()]
    return TablesSettings(study=study.study, pairs=pairs, decide=study.decide)


def look_settings(study: Study, taken: Sequence[Undecided], number: int) -> LookSettings:
    """What a look judges: the seeds that the looks before it asked for."""
    tables = tables_settings(up_to(study, taken))
    return LookSettings(look=number, **dict(tables))


def _pair(study: Study, name: str, pair: Pair) -> PairSettings:
    given = {name: study.given(pair, name) for name in pair.given}
    instances = []
    for instance in pair.probes:
        ref = study.probes[instance]
        cls = ref.cls
        instances.append(
            InstanceSettings(
                name=instance,
                probe=cls.name,
                family=cls.family,
                relational=cls.relational,
                on_teacher=cls.on_teacher,
                min_gap=ref.options.min_gap,
            )
        )
    return PairSettings(
        name=name,
        role=pair.role,
        teacher=pair.teacher,
        second_teacher=second_teacher(study, pair),
        floor=floor(study, pair),
        student=pair.like,
        ind_seeds=list(study.independents(pair)),
        methods={
            **{method: pair.seeds_of(method) for method in pair.methods},
            **{name: list(refs) for name, refs in given.items()},
        },
        taken={**given, **({"ind": study.independents(pair)} if pair.baselines else {})},
        paired=_paired(study, pair),
        instances=instances,
        paper=pair.paper,
        paper_domains=pair.paper_conditions,
    )


def _paired(study: Study, pair: Pair) -> bool:
    """Whether distilled students share their draws with the independent ones of the same seed."""
    own = pair.student is not None and pair.independent == [pair.student]
    return own and study.paired and study.models[pair.like].weights is None


def measured(study: Study) -> set[str]:
    """Properties that are measured in any pair."""
    return {study.probes[i].name for pair in study.pairs.values() for i in pair.probes}


def figures_to_draw(study: Study) -> list[str]:
    """Figures that have something to show in this study, in alphabetical order."""
    has = {
        "paper": any(pair.paper for pair in study.pairs.values()),
        "answer": study.answer is not None,
        "answer_methods": bool(answer_methods(study)),
        "many_methods": any(len(p.methods) + len(p.given) >= MANY for p in study.pairs.values()),
    }
    return figure_names(measured(study), [name for name, there in has.items() if there])


def answer_methods(study: Study) -> dict[str, list[str]]:
    """By pair with a method that sees no teacher: those, and those that see its answers alone."""
    found = {}
    for name, pair in study.pairs.items():
        alone = without_teacher(pair)
        if alone:
            found[name] = [
                method
                for method, ref in pair.methods.items()
                if method in alone or not ref.cls.teacher_layers(ref.options)
            ]
    return found


def without_teacher(pair: Pair) -> list[str]:
    """Methods of a pair that see no teacher."""
    return [m for m, ref in pair.methods.items() if not ref.cls.uses_teacher]


def figures_settings(study: Study, names: list[str], networks: list[str]) -> FiguresSettings:
    read = {probe for name in names for probe in find_figure(name).reads_records}
    pairs = []
    everyone = tables_settings(study).pairs
    for pair in everyone:
        instances = [instance for instance in pair.instances if instance.probe in read]
        if instances:
            pairs.append(pair.model_copy(update={"instances": instances}))
    return FiguresSettings(
        study=study.study,
        figures=names,
        networks=networks,
        pairs=[pair.model_copy(update={"instances": []}) for pair in everyone],
        recorded=pairs,
        answer=study.answer,
        answer_methods=answer_methods(study),
        without_teacher=sorted({m for p in study.pairs.values() for m in without_teacher(p)}),
    )


def record_folders(pairs: list[PairSettings]) -> list[str]:
    """Folders of the probe jobs that make the records of pairs, without repetition."""
    return sorted(
        {
            str(pair.record_file(network, instance).parent)
            for pair in pairs
            for instance in pair.instances
            for networks in pair.measured(instance).values()
            for network in networks.values()
        }
    )


def report_settings(
    study: Study, compute: Compute, names: list[str], networks: list[str]
) -> ReportSettings:
    return ReportSettings(
        study=study.study,
        title=study.title or study.study,
        figures=names,
        summary=_facts(study, compute, len(networks)),
        networks=networks,
        pairs=tables_settings(study).pairs,
        without_teacher={name: without_teacher(pair) for name, pair in study.pairs.items()},
        sets=list(study.data.sets),
        decide=study.decide,
        answer=study.answer,
        expect=expectations(study) or None,
    )


def _seeds(pair: Pair) -> str:
    """How many distilled students a method has; with looks, from the fewest to the most."""
    counts = sorted({len(pair.seeds_of(method)) for method in pair.methods})
    return "–".join(map(str, dict.fromkeys((counts[0], counts[-1]))))


def _facts(study: Study, compute: Compute, n_networks: int) -> dict[str, Any]:
    """Facts about the study, for the report."""
    ready = sum(len(model.seeds) for model in study.models.values() if model.weights)
    facts: dict[str, Any] = {
        "networks trained": n_networks - ready,
        **({"networks from weights": ready} if ready else {}),
        "device": compute.device,
        "precision": compute.precision,
    }
    if study.decide is not None:
        seeds = ", ".join(map(str, study.decide.looks))
        facts["looks"] = f"with {seeds} seeds, error spent as {study.decide.spending}"
    if any(pair.given for pair in study.pairs.values()):
        missing = [name for name in probes.names() if name not in measured(study)]
        facts["not measured"] = ", ".join(missing) or "nothing"
    for name, data in study.data.sets.items():
        facts[f"data set {name}"] = (
            f"{data.source.name}, {data.size}×{data.size} pixels, domains {', '.join(data.domains)}"
        )
    for name, model in study.models.items():
        if (wrong := model.data.labels) is not None:
            facts[f"model {name}"] = f"{wrong.noise:.0%} of its training images have a wrong label"
    for name, pair in study.pairs.items():
        recipe = pair.training or study.models[pair.like].training
        independent = f"{len(study.independents(pair))} independent"
        facts[f"pair {name}"] = (
            f"{pair.teacher.called} → {pair.student}, {_seeds(pair)} distilled and "
            f"{independent} seeds, {recipe.epochs} epochs, {recipe.optimizer} at {recipe.lr:g}"
            if pair.methods
            else f"{pair.teacher.called} → {', '.join(pair.given)}, {independent}"
        )
        if pair.init is not None:
            facts[f"pair {name}, start"] = (
                f"{_start(study, pair)}; independent students start from their own draws, so that "
                f"the comparison is not on equal footing"
            )
        if _untrained(study, pair):
            facts[f"pair {name}, independent students"] = (
                "untrained networks: what distilled students have beyond them, they were taught"
            )
        for method in pair.given:
            count = len(study.given(pair, method))
            facts[f"pair {name}, {method}"] = f"given, {count} network{'s' * (count > 1)}"
        for method, ref in pair.methods.items():
            options = ", ".join(f"{k} {v}" for k, v in ref.as_json()["options"].items())
            facts[f"pair {name}, {method}"] = f"{ref.name}: {options}"
    return facts


def _untrained(study: Study, pair: Pair) -> bool:
    """Whether nobody trained the independent students of a pair."""
    models = [study.models[name] for name in pair.independent]
    return bool(models) and not any(m.weights or m.training.epochs for m in models)


def _start(study: Study, pair: Pair) -> str:
    """Where the students of a pair start, in words."""
    init, ref = pair.init, study.start_network(pair)
    assert init is not None
    whose = "their teacher" if init.of == "teacher" else f"{ref.called}, seed {ref.seed}"
    when = "initial" if init.at == "start" else "final"
    layers = f" (layers {', '.join(init.layers)} alone)" if init.layers else ""
    noise = f", with noise of {init.noise:g} of each tensor's spread" if init.noise else ""
    return f"distilled students start at the {when} weights of {whose}{layers}{noise}"
