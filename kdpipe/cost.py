"""What a study costs before it runs, counted by torch's own FLOP counter."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from kdpipe.data.sources.base import Source, sources
from kdpipe.entries import DataSet
from kdpipe.job import Job
from kdpipe.models.base import Network, build
from kdpipe.pairs import teacher_outputs
from kdpipe.plan import Plan
from kdpipe.stages.teacher_outputs import too_large

STAGES = ("subset", "train", "teacher_outputs", "distil", "calibrate", "probe", "tables")


def forward_flops(job: Job, plan: Plan, data_root: Path | None) -> tuple[int, int]:
    """Parameters, and FLOPs of one image's forward pass, of the network that ``job`` trains."""
    network, size = _network(job, plan, data_root)
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        network(torch.zeros(1, 3, size, size))
    return sum(p.numel() for p in network.parameters()), counter.get_total_flops()


def _network(job: Job, plan: Plan, data_root: Path | None) -> tuple[Network, int]:
    """The network that ``job`` trains, and the height and width of its images."""
    data = plan.study.data.sets[job.slice.data.set]  # type: ignore[attr-defined]
    n_classes = len(data.classes) if data.classes else _source(data, data_root).n_classes()
    network = build(job.slice.network, n_classes, [0.5] * 3, [1.0] * 3, seed=0)  # type: ignore[attr-defined]
    return network.eval(), data.size


def _source(data: DataSet, data_root: Path | None) -> Source:
    cls = sources.get(data.source.name)
    return cls(cls.Options(**data.source.options), data_root)


@torch.no_grad()
def teacher_table(name: str, plan: Plan, data_root: Path | None) -> tuple[str, int]:
    """What becomes of a pair's teacher outputs and why, and their bytes (at most) if written.

    At most, because a class or group of which fewer images are asked for is not subtracted.
    """
    study = plan.study
    pair = study.pairs[name]
    found = teacher_outputs(study, pair)
    if not found.wanted:
        return f"no: {found.reason}", 0
    model = study.models[pair.like]
    network, size = _network(plan.jobs[pair.teacher.path], plan, data_root)
    logits, features = network.with_features(torch.zeros(1, 3, size, size), found.layers)
    numbers = sum(x.numel() for x in (logits, *features.values()))
    data = study.data.sets[model.data.set]
    images = _source(data, data_root).n_images() * len(model.data.domains)
    kind = torch.bfloat16 if plan.compute.precision == "bf16" else torch.float32
    total = int(images * data.split.train * found.views * numbers * kind.itemsize)
    reason = too_large(total, study.compute.teacher_outputs_gb)
    if reason and study.compute.teacher_outputs == "auto":
        return f"no: {reason}", total
    return f"yes: {reason or found.reason}", total


def print_cost(plan: Plan, data_root: Path | None) -> None:
    """A table of jobs per stage and of the networks that are trained."""
    from rich.console import Console
    from rich.table import Table

    data_root = data_root or (Path(root) if (root := plan.study.data.root) else None)
    counts = Counter(job.stage for job in plan.jobs.values())
    stages = Table("stage", "jobs", title=f"Study {plan.study.study}")
    for stage in (*STAGES, "figures", "report"):
        stages.add_row(stage, str(counts[stage]))
    networks = Table("networks", "number", "parameters", "GFLOP per image", "epochs")
    seen: dict[tuple[str, ...], list[Job]] = {}
    for job in (*plan.by_stage("train"), *plan.by_stage("distil")):
        if getattr(job.slice, "weights", None) is not None:
            continue  # others trained it
        seen.setdefault(tuple(job.target.split("/")[:-1]), []).append(job)
    for key, group in seen.items():
        parameters, flops = forward_flops(group[0], plan, data_root)
        epochs = group[0].slice.recipe.epochs  # type: ignore[attr-defined]
        networks.add_row(
            "/".join(key), str(len(group)), f"{parameters:,}", f"{flops / 1e9:.4f}", str(epochs)
        )
    tables = Table("pair", "teacher outputs computed once", "GB at most")
    for name in plan.study.pairs:
        decision, size = teacher_table(name, plan, data_root)
        tables.add_row(name, decision, f"{size / 1e9:.3f}")
    console = Console()
    console.print(stages)
    console.print(networks)
    console.print(tables)
    console.print(f"device {plan.compute.device}, precision {plan.compute.precision}")
