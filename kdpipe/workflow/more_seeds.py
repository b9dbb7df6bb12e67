"""How long further seeds of a study take, from what its jobs took so far."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from itertools import chain, count
from pathlib import Path
from statistics import median

from kdpipe.base.paths import ModelRef
from kdpipe.plan.job import Job
from kdpipe.plan.plan import Plan
from kdpipe.study.schema import Study


def seconds(plan: Plan, root: Path, pairs: Iterable[str], seeds: int) -> float | None:
    """What the jobs take, one after the other, that bring ``pairs`` to ``seeds`` a side.

    Each is taken for as long as the median of its kind, another seed of the same network, or else
    of its stage. None where no duration is known: only Snakemake records them.
    """
    computed = plan.compute.model_dump(include={"device", "precision"})
    study = plan.study.model_copy(
        update={"compute": plan.study.compute.model_copy(update=computed)}
    )
    before, after = plan.jobs, Plan(with_seeds(study, pairs, seeds)).jobs
    if study.decide is None:
        before = Plan(study).jobs
    todo = [
        job
        for target, job in after.items()
        if target not in before or before[target].settings != job.settings
    ]
    of_kind: dict[str, list[float]] = {}
    of_stage: dict[str, list[float]] = {}
    for job in before.values():
        took = _took(root, job)
        if took is not None:
            of_kind.setdefault(_kind(job), []).append(took)
            of_stage.setdefault(job.stage, []).append(took)
    if not of_kind:
        return None
    known = [of_kind.get(_kind(job)) or of_stage.get(job.stage) for job in todo]
    return sum(median(times) for times in known if times)


def with_seeds(study: Study, pairs: Iterable[str], seeds: int) -> Study:
    """The study with ``seeds`` seeds of every student of ``pairs``, on both sides the same ones.

    Networks that came from weights stay as they are. Looks have nothing to say of further seeds.
    """
    taken = {ref for pair in study.pairs.values() for ref in pair.teacher.members}
    taken |= {ref for p in study.probes.values() for ref in p.cls.networks(p.options)}
    models, edited = dict(study.models), dict(study.pairs)
    for name in pairs:
        pair = study.pairs[name]
        trained = [m for m in pair.independent if study.models[m].weights is None]
        alike = {*trained, pair.student}
        foreign = {r.seed for r in taken if isinstance(r, ModelRef) and r.model in alike}
        distilled = pair.seeds if pair.methods else []
        for model in trained:
            own = models[model].seeds
            if pair.methods:
                distilled = _extended(distilled, own, seeds, foreign)
            longer = _extended(own, distilled, seeds, foreign)
            models[model] = models[model].model_copy(update={"seeds": longer})
        if pair.methods:
            distilled = _extended(distilled, [], seeds, foreign)
            edited[name] = pair.with_seeds(distilled)
    return study.model_copy(update={"models": models, "pairs": edited, "decide": None})


def _extended(seeds: list[int], others: list[int], number: int, foreign: set[int]) -> list[int]:
    """``seeds`` and further ones, as many as ``number``: those of the other side first.

    ``foreign`` seeds have another use.
    """
    free = (seed for seed in chain(others, count()) if seed not in foreign)
    longer = dict.fromkeys(seeds)
    while len(longer) < number:
        longer[next(free)] = None
    return list(longer)


def _kind(job: Job) -> str:
    """The target without the seed of its network."""
    return re.sub(r"/seed\d+(?=/|$)", "/seed", job.target, count=1)


def _took(root: Path, job: Job) -> float | None:
    """Seconds of a job as Snakemake recorded them; None where it did not."""
    path = root / "benchmarks" / Path(job.target).with_suffix(".tsv")
    try:
        with path.open(newline="") as file:
            return float(next(csv.DictReader(file, delimiter="\t"))["s"])
    except (OSError, ValueError, KeyError, StopIteration):
        return None
