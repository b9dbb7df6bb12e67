"""What a study costs before it runs, counted by torch's own FLOP counter."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from kdpipe.data.sources.base import sources
from kdpipe.job import Job
from kdpipe.models.base import build
from kdpipe.plan import Plan

STAGES = ("subset", "train", "teacher_outputs", "distil", "calibrate", "probe", "tables")


def forward_flops(job: Job, plan: Plan, data_root: Path | None) -> tuple[int, int]:
    """Parameters, and FLOPs of one image's forward pass, of the network that ``job`` trains."""
    data = plan.study.data.sets[job.slice.data.set]  # type: ignore[attr-defined]
    if data.classes is None:
        source = sources.get(data.source.name)
        n_classes = len(
            source(source.Options(**data.source.options), data_root).listing().class_names
        )
    else:
        n_classes = len(data.classes)
    network = build(job.slice.network, n_classes, [0.5] * 3, [1.0] * 3, seed=0)  # type: ignore[attr-defined]
    network.eval()
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        network(torch.zeros(1, 3, data.size, data.size))
    return sum(p.numel() for p in network.parameters()), counter.get_total_flops()


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
        seen.setdefault(tuple(job.target.split("/")[:-1]), []).append(job)
    for key, group in seen.items():
        parameters, flops = forward_flops(group[0], plan, data_root)
        epochs = group[0].slice.recipe.epochs  # type: ignore[attr-defined]
        networks.add_row(
            "/".join(key), str(len(group)), f"{parameters:,}", f"{flops / 1e9:.4f}", str(epochs)
        )
    console = Console()
    console.print(stages)
    console.print(networks)
    console.print(f"device {plan.compute.device}, precision {plan.compute.precision}")
