"""The part of the plan that comes after measuring: tables, figures, report."""

from __future__ import annotations

from typing import Any

from kdpipe.figures.base import figures
from kdpipe.pairs import second_teacher
from kdpipe.probes.base import probes
from kdpipe.stages.figures import FiguresSlice
from kdpipe.stages.report import ReportSlice
from kdpipe.stages.tables import InstanceSlice, PairSlice, TablesSlice
from kdpipe.study import Pair, Study
from kdpipe.training.compute import Compute


def tables_slice(study: Study) -> TablesSlice:
    pairs = [_pair(study, name, pair) for name, pair in study.pairs.items()]
    return TablesSlice(study=study.study, pairs=pairs)


def _pair(study: Study, name: str, pair: Pair) -> PairSlice:
    instances = []
    for instance in pair.probes:
        cls = probes.get(study.probes[instance].name)
        instances.append(
            InstanceSlice(
                name=instance,
                probe=cls.name,
                family=cls.family,
                relational=cls.relational,
                on_teacher=cls.on_teacher,
            )
        )
    return PairSlice(
        name=name,
        role=pair.role,
        teacher=pair.teacher,
        second_teacher=second_teacher(study, pair),
        student=pair.student,
        ind_seeds=study.ind_seeds(pair),
        methods=dict.fromkeys(pair.methods, pair.seeds),
        instances=instances,
        paper=pair.paper,
        paper_domains=pair.paper_conditions,
    )


def figure_names(study: Study) -> list[str]:
    """Figures that have something to show in this study, in alphabetical order."""
    measured = {study.probes[i].name for pair in study.pairs.values() for i in pair.probes}
    names = []
    for name in figures.names():
        needed = figures.get(name).probes
        if name == "paper" and not any(p.paper for p in study.pairs.values()):
            continue
        if not needed or measured & set(needed):
            names.append(name)
    return names


def figures_slice(study: Study, names: list[str], networks: list[str]) -> FiguresSlice:
    read = {probe for name in names for probe in figures.get(name).reads_records}
    pairs = []
    for pair in tables_slice(study).pairs:
        instances = [instance for instance in pair.instances if instance.probe in read]
        if instances:
            pairs.append(pair.model_copy(update={"instances": instances}))
    return FiguresSlice(study=study.study, figures=names, networks=networks, recorded=pairs)


def record_folders(slice_: FiguresSlice) -> list[str]:
    """Folders of the probe jobs whose records the figures read, without repetition."""
    return sorted(
        {
            str(pair.record_file(network, instance).parent)
            for pair in slice_.recorded
            for instance in pair.instances
            for network in pair.networks(instance)
        }
    )


def report_slice(
    study: Study, compute: Compute, names: list[str], networks: list[str]
) -> ReportSlice:
    return ReportSlice(
        study=study.study,
        title=study.title or study.study,
        figures=names,
        summary=_facts(study, compute, len(networks)),
        networks=networks,
    )


def _facts(study: Study, compute: Compute, n_networks: int) -> dict[str, Any]:
    """What a reader wants to know of the study beside its results."""
    ready = sum(len(model.seeds) for model in study.models.values() if model.weights)
    facts: dict[str, Any] = {
        "networks trained": n_networks - ready,
        **({"networks from weights": ready} if ready else {}),
        "device": compute.device,
        "precision": compute.precision,
    }
    for name, data in study.data.sets.items():
        facts[f"data set {name}"] = (
            f"{data.source.name}, {data.size}×{data.size} pixels, domains {', '.join(data.domains)}"
        )
    for name, pair in study.pairs.items():
        recipe = pair.training or study.models[pair.student].training
        facts[f"pair {name}"] = (
            f"{pair.teacher.model} → {pair.student}, {len(pair.seeds)} distilled and "
            f"{len(study.ind_seeds(pair))} independent seeds, {recipe.epochs} epochs, "
            f"{recipe.optimizer} at {recipe.lr:g}"
        )
        for method, ref in pair.methods.items():
            options = ", ".join(f"{k} {v}" for k, v in ref.options.items())
            facts[f"pair {name}, {method}"] = f"{ref.name}: {options}"
    return facts
