"""What a study costs before it runs: operations, time, memory and disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.table import Column, Table

from kdpipe.plan.counting import FLOAT
from kdpipe.plan.estimate import MOST_RETRIES, Estimate
from kdpipe.plan.plan import Plan
from kdpipe.plan.throughput import duration, rounded, throughput
from kdpipe.stages.order import TRAININGS
from kdpipe.stages.prepare import PrepareSettings
from kdpipe.stages.shared.training import TrainingSettings

TFLOPS = 10.0
"""Throughput, in 10¹² operations a second, if none is given and none can be measured: about that of
one GPU of a data centre in these trainings."""


@dataclass(frozen=True)
class Cost:
    """Number of ``networks`` to train, ``flops`` of all trainings, and bytes on ``disk``: weights,
    decoded images, teacher outputs and attacked images. Records and pictures are much smaller."""

    networks: int
    flops: float
    disk: float

    @property
    def scale(self) -> tuple[str, float]:
        """The unit in which the operations are said, and its size."""
        return next((unit, size) for unit, size in UNITS if self.flops >= size or size == 1e12)

    def words(self, tflops: float) -> str:
        """One sentence, as the third line of a study file has it."""
        return self.sentence(f"{duration(self.flops / tflops / 1e12)} at {tflops:g} TFLOP/s")

    def sentence(self, takes: str) -> str:
        """The same with the time in words."""
        unit, size = self.scale
        return (
            f"{self.networks} networks to train, {rounded(self.flops / size)} {unit}, {takes}; "
            f"{rounded(self.disk / 1e9)} GB on disk"
        )


UNITS = (("EFLOP", 1e18), ("PFLOP", 1e15), ("TFLOP", 1e12))


def cost(estimate: Estimate) -> Cost:
    """Sum over a plan, with the operations of trainings and teacher outputs."""
    plan = estimate.plan
    jobs = plan.by_stage(*TRAININGS)
    networks = [job.settings for job in jobs if isinstance(job.settings, TrainingSettings)]
    trained = [s for s in networks if getattr(s, "weights", None) is None]
    flops = sum(estimate.work(job).flops for job in (*jobs, *plan.by_stage("teacher_outputs")))
    disk = sum(FLOAT * estimate.trained(s).parameters for s in networks)
    for name, data in plan.study.data.sets.items():
        images = estimate.rendered(name)
        disk += images * 3 * data.edge**2 if data.stores(images) else 0
    tables = map(estimate.table, plan.study.pairs)
    disk += sum(table.bytes for table in tables if table.wanted)
    disk += sum(size for sizes in _prepared(estimate).values() for size in sizes)
    return Cost(len(trained), flops, disk)


def _prepared(estimate: Estimate) -> dict[str, list[int]]:
    """For each probe, bytes stored for every teacher and attacker; 0 above the limit."""
    found: dict[str, list[int]] = {}
    for job in estimate.plan.by_stage("prepare"):
        assert isinstance(job.settings, PrepareSettings)
        size = estimate.stored_bytes(job.settings.instance.probe)
        found.setdefault(job.settings.instance.name, []).append(size)
    return found


def print_plan(
    plan: Plan, data_root: Path | None, tflops: float | None = None, cores: int | None = None
) -> None:
    """Print jobs, networks, teacher outputs and prepared probes, the sum, and what jobs need.

    Hours are stated at ``tflops``. Without it they are stated at the measured throughput of this
    machine, if it has the device of the plan.
    """
    from rich.console import Console

    estimate = Estimate(plan, data_root)
    console = Console()
    console.width = max(console.width, 110)  # of a pipe it is 80
    for table in (_trained(estimate), _outputs(estimate), _stored(estimate)):
        console.print(table)
    console.print(f"device {plan.compute.device}, precision {plan.compute.precision}")
    if plan.precision_reason:
        console.print(plan.precision_reason, soft_wrap=True)
    found, total = throughput(estimate, cores) if tflops is None else None, cost(estimate)
    takes = total.sentence(found.words(plan.compute.threads)) if found else None
    whole = "In all" if plan.study.decide is None else "At most, with all looks"
    console.print(f"{whole}: {takes or total.words(tflops or TFLOPS)}", soft_wrap=True)
    if plan.study.decide is not None:
        console.print(_at_least(plan, data_root), soft_wrap=True)
    if not (tflops or found) and plan.compute.device == "cuda":
        console.print("(There is no GPU here to measure; --tflops states another throughput.)")
    console.print(_needs(estimate))
    console.print(_submissions(estimate), soft_wrap=True)


def _at_least(plan: Plan, data_root: Path | None) -> str:
    """What the first look of a study takes."""
    least = cost(Estimate(Plan(plan.whole, []), data_root))
    unit, size = least.scale
    return (
        f"At least, if the first look decides everything: {least.networks} networks to train, "
        f"{rounded(least.flops / size)} {unit}"
    )


def _trained(estimate: Estimate) -> Table:
    """A row for the networks of a model, and for those of a method of a pair."""
    table = Table(
        Column("networks", no_wrap=True),
        *("number", "parameters", "GFLOP per image", "epochs", "images", "TFLOP each"),
    )
    seen: dict[str, list[TrainingSettings]] = {}
    for job in estimate.plan.by_stage(*TRAININGS):
        assert isinstance(job.settings, TrainingSettings)
        seen.setdefault(job.target.rpartition("/")[0], []).append(job.settings)
    for key, (first, *others) in seen.items():
        size = estimate.trained(first)
        flops = estimate.training_flops(first)
        trained = [str(first.recipe.epochs), f"{estimate.epoch_images(first)[0]:,}"]
        table.add_row(
            key,
            str(1 + len(others)),
            f"{size.parameters:,}",
            f"{size.flops / 1e9:.4f}",
            *(trained if flops else ["from weights", ""]),
            f"{flops / 1e12:,.4g}" if flops else "",
        )
    return table


def _outputs(estimate: Estimate) -> Table:
    table = Table("pair", "teacher outputs computed once", "GB at most")
    for name in estimate.plan.study.pairs:
        found = estimate.table(name)
        reason = f"{'yes' if found.wanted else 'no'}: {found.reason}"
        table.add_row(name, reason, f"{found.bytes / 1e9:.3f}")
    return table


def _stored(estimate: Estimate) -> Table:
    table = Table("probe", "teachers and attackers prepared once", "GB at most")
    for name, sizes in _prepared(estimate).items():
        table.add_row(name, str(len(sizes)), f"{sum(sizes) / 1e9:.3f}")
    return table


def _needs(estimate: Estimate) -> Table:
    """For each stage, the largest needs of its jobs."""
    table = Table(
        *("stage", "jobs", "hours in all", "longest", "memory (MB)", "time limit (min)"),
        title=f"Estimated needs of study {estimate.plan.study.study}, for a scheduler",
    )
    for stage in dict.fromkeys(job.stage for job in estimate.plan.jobs.values()):
        needs = [estimate.need(job) for job in estimate.plan.by_stage(stage)]
        table.add_row(
            stage,
            str(len(needs)),
            f"{sum(n.hours for n in needs):.2f}",
            f"{max(n.hours for n in needs):.2f}",
            f"{max(n.memory_mb for n in needs):,}",
            str(max(n.minutes for n in needs)),
        )
    return table


def _submissions(estimate: Estimate) -> str:
    """How trainings are submitted to a scheduler."""
    retries = max((n.retries for n in estimate.trainings), default=0)
    together = "in groups" if estimate.small_trainings else "one by one"
    said = f"trainings are submitted {together} and tried again up to {retries} times"
    if retries < MOST_RETRIES:
        return said
    longest = max(need.hours for need in estimate.trainings)
    return (
        f"{said}\nThe longest training is estimated at {longest:,.0f} h on this device "
        f"({estimate.device}): more than {retries} submissions; raise resources.time_limit, or "
        f"plan for a GPU (compute.device: cuda)."
    )
