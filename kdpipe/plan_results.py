"""The part of the plan that comes after measuring: tables, figures, report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kdpipe.figures.base import figures
from kdpipe.probes.base import probes
from kdpipe.stages.figures import FiguresSlice
from kdpipe.stages.report import ReportSlice
from kdpipe.stages.tables import InstanceSlice, PairSlice, TablesSlice

if TYPE_CHECKING:
    from kdpipe.plan import Plan
    from kdpipe.study import Pair


def tables_slice(plan: Plan) -> TablesSlice:
    pairs = [_pair(plan, name, pair) for name, pair in plan.study.pairs.items()]
    return TablesSlice(study=plan.study.study, pairs=pairs)


def _pair(plan: Plan, name: str, pair: Pair) -> PairSlice:
    instances = []
    for instance in pair.probes:
        cls = probes.get(plan.study.probes[instance].name)
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
        second_teacher=plan.second_teacher(pair),
        student=pair.student,
        ind_seeds=plan.study.ind_seeds(pair),
        methods=dict.fromkeys(pair.methods, pair.seeds),
        instances=instances,
        paper=pair.paper,
        paper_domains=pair.paper_conditions,
    )


def figure_names(plan: Plan) -> list[str]:
    """Figures that have something to show in this study, in alphabetical order."""
    measured = {
        plan.study.probes[i].name for pair in plan.study.pairs.values() for i in pair.probes
    }
    names = []
    for name in figures.names():
        needed = figures.get(name).probes
        if name == "paper" and not any(p.paper for p in plan.study.pairs.values()):
            continue
        if not needed or measured & set(needed):
            names.append(name)
    return names


def figures_slice(plan: Plan, names: list[str]) -> FiguresSlice:
    networks = [*plan.models, *plan.students]
    return FiguresSlice(study=plan.study.study, figures=names, networks=networks)


def report_slice(plan: Plan, names: list[str]) -> ReportSlice:
    study = plan.study
    return ReportSlice(
        study=study.study,
        title=study.title or study.study,
        figures=names,
        summary=_facts(plan),
        networks=[*plan.models, *plan.students],
    )


def _facts(plan: Plan) -> dict[str, Any]:
    """What a reader wants to know of the study beside its results."""
    study = plan.study
    facts: dict[str, Any] = {
        "networks trained": len(plan.models) + len(plan.students),
        "device": plan.compute.device,
        "precision": plan.compute.precision,
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
