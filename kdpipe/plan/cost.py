"""What a study costs before it runs, counted by torch's own FLOP counter."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from kdpipe.plan.estimate import FLOAT, Estimate
from kdpipe.plan.plan import Plan
from kdpipe.plan.throughput import duration, throughput
from kdpipe.stages.order import STAGES, TRAININGS
from kdpipe.stages.prepare import PrepareSettings
from kdpipe.stages.shared.training import TrainingSettings

TFLOPS = 10.0
"""Throughput, in 10¹² operations a second, at which hours are stated where nobody says one and none
can be measured: about what one GPU of a data centre sustains in these trainings."""


@dataclass(frozen=True)
class Cost:
    """``networks`` that are trained, the operations of all trainings, and bytes on disk: weights,
    decoded images, teacher outputs, attacked images (records and pictures are small beside them).
    """

    networks: int
    flops: float
    disk: float

    def words(self, tflops: float) -> str:
        """One sentence, as the third line of a study file has it."""
        return self.sentence(f"{duration(self.flops / tflops / 1e12)} at {tflops:g} TFLOP/s")

    def sentence(self, takes: str) -> str:
        """The same with a time that was told."""
        unit, size = next(
            (unit, size) for unit, size in UNITS if self.flops >= size or size == 1e12
        )
        return (
            f"{self.networks} networks to train, {rounded(self.flops / size)} {unit}, {takes}; "
            f"{rounded(self.disk / 1e9)} GB on disk"
        )


UNITS = (("EFLOP", 1e18), ("PFLOP", 1e15), ("TFLOP", 1e12))


def rounded(value: float) -> str:
    """Two digits, without an exponent."""
    two = float(f"{value:.2g}")
    return f"{two:,.0f}" if two >= 10 else f"{two:g}"


def cost(estimate: Estimate) -> Cost:
    """Of all trainings of a plan, teacher outputs included."""
    plan = estimate.plan
    networks = [settings for _, settings in _networks(plan)]
    trained = [s for s in networks if getattr(s, "weights", None) is None]
    flops = sum(estimate.training_flops(s) for s in trained)
    disk = sum(FLOAT * estimate.size(s.network, s.data.set).parameters for s in networks)
    for name, data in plan.study.data.sets.items():
        images = estimate.rendered(name)
        disk += images * 3 * data.edge**2 if data.stores(images) else 0
    for name, pair in plan.study.pairs.items():
        found = estimate.table(name)
        disk += found.bytes if found.written else 0
        if found.written:
            network = plan.study.models[pair.teacher.model].network
            flops += found.views * estimate.size(network, found.set).flops
    disk += sum(size for sizes in _prepared(estimate).values() for size in sizes)
    return Cost(len(trained), flops, disk)


def _prepared(estimate: Estimate) -> dict[str, list[int]]:
    """Of each probe, bytes that are stored of every teacher and attacker; 0 beyond the limit."""
    found: dict[str, list[int]] = {}
    for job in estimate.plan.by_stage("prepare"):
        assert isinstance(job.settings, PrepareSettings)
        probe = job.settings.instance.probe
        size = estimate.prepared_bytes(probe) if estimate.stores(probe) else 0
        found.setdefault(job.settings.instance.name, []).append(size)
    return found


def _networks(plan: Plan) -> list[tuple[str, TrainingSettings]]:
    """Target and settings of every network of a plan."""
    trainings = plan.by_stage(*TRAININGS)
    return [
        (job.target, job.settings)
        for job in trainings
        if isinstance(job.settings, TrainingSettings)
    ]


def print_cost(
    plan: Plan, data_root: Path | None, tflops: float | None = None, cores: int | None = None
) -> None:
    """Tables of jobs per stage, networks, teacher outputs and prepared probes, and the sum.

    Hours are stated at ``tflops``; without it, and where the plan is for a machine like this one,
    the throughput of this machine is measured.
    """
    from rich.console import Console
    from rich.table import Column, Table

    estimate = Estimate(plan, data_root)
    counts = Counter(job.stage for job in plan.jobs.values())
    stages = Table("stage", "jobs", title=f"Study {plan.study.study}")
    for stage in STAGES:
        stages.add_row(stage, str(counts[stage]))
    networks = Table(
        Column("networks", no_wrap=True),
        *("number", "parameters", "GFLOP per image", "epochs", "images", "TFLOP each"),
    )
    seen: dict[str, list[TrainingSettings]] = {}
    for target, settings in _networks(plan):
        seen.setdefault(target.rpartition("/")[0], []).append(settings)
    for key, (first, *others) in seen.items():
        size = estimate.size(first.network, first.data.set)
        flops = estimate.training_flops(first)
        trained = [str(first.recipe.epochs), f"{estimate.training_images(first.data):,}"]
        networks.add_row(
            key,
            str(1 + len(others)),
            f"{size.parameters:,}",
            f"{size.flops / 1e9:.4f}",
            *(trained if flops else ["from weights", ""]),
            f"{flops / 1e12:,.4g}" if flops else "",
        )
    tables = Table("pair", "teacher outputs computed once", "GB at most")
    for name in plan.study.pairs:
        table = estimate.table(name)
        tables.add_row(name, table.reason, f"{table.bytes / 1e9:.3f}")
    prepared = Table("probe", "teachers and attackers looked at once", "GB at most")
    for name, sizes in _prepared(estimate).items():
        prepared.add_row(name, str(len(sizes)), f"{sum(sizes) / 1e9:.3f}")
    console = Console()
    console.width = max(console.width, 110)  # of a pipe it is 80
    console.print(stages)
    console.print(networks)
    console.print(tables)
    console.print(prepared)
    console.print(f"device {plan.compute.device}, precision {plan.compute.precision}")
    if plan.precision_reason:
        console.print(plan.precision_reason, soft_wrap=True)
    found = throughput(estimate, cores) if tflops is None else None
    if found is None:
        console.print(f"In all: {cost(estimate).words(tflops or TFLOPS)}", soft_wrap=True)
        if tflops is None and plan.compute.device == "cuda":
            console.print("(There is no GPU here to measure; --tflops states another throughput.)")
    else:
        said = cost(estimate).sentence(found.words(plan.compute.threads))
        console.print(f"In all: {said}", soft_wrap=True)
