"""How fast this machine trains the networks of a study, measured in about a second."""

from __future__ import annotations

import os
import time
from collections import Counter
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from kdpipe.base.machine import has_gpu
from kdpipe.base.plugin import PluginRef
from kdpipe.models.base import build
from kdpipe.models.shared.code import CodeOptions
from kdpipe.plan.added import TRAINED
from kdpipe.plan.estimate import Estimate
from kdpipe.plan.precision import threads
from kdpipe.stages.order import TRAININGS
from kdpipe.stages.shared.training import TrainingSettings
from kdpipe.training.compute import Compute

SECONDS = 1.0
MOST = 3
"""Number of networks to measure, those with the most work. The others count as equally fast."""
SLOW = 1e10
"""Operations a second assumed before the measurement: batches are small enough for one step at this
speed."""


@dataclass(frozen=True)
class Throughput:
    """``seconds`` of computing in trainings and probes, one job after the other, and
    ``operations`` a second of one job, as measured."""

    seconds: float
    operations: float
    cores: int

    def words(self, each: int) -> str:
        """One sentence. Jobs of ``each`` threads run beside each other on the cores."""
        beside = max(1, self.cores // each)
        return (
            f"about {duration(self.seconds / beside)} of computing at --cores {self.cores}, at "
            f"{self.operations / 1e12:.2g} TFLOP/s a job, measured here; every job's start comes "
            f"on top"
        )


def duration(seconds: float) -> str:
    """Two digits of minutes, or of hours."""
    hours = seconds / 3600
    return f"{rounded(hours)} h" if hours >= 1 else f"{rounded(60 * hours)} min"


def rounded(value: float) -> str:
    """Two digits, without an exponent."""
    two = float(f"{value:.2g}")
    return f"{two:,.0f}" if two >= 10 else f"{two:g}"


def throughput(estimate: Estimate, cores: int | None = None) -> Throughput | None:
    """Measure how fast this machine does the work of a plan. None if the plan needs a GPU and there
    is none, or all networks are third-party code."""
    plan = estimate.plan
    if plan.compute.device == "cuda" and not has_gpu():
        return None
    work: Counter[tuple[PluginRef, str]] = Counter()
    batches: dict[tuple[PluginRef, str], int] = {}
    for job in plan.by_stage(*TRAININGS):
        assert isinstance(job.settings, TrainingSettings)
        key = job.settings.network, job.settings.data.set
        work[key] += round(estimate.work(job).flops)
        batches[key] = job.settings.recipe.batch_size
    speeds: dict[tuple[PluginRef, str], float] = {}
    for key, _ in work.most_common(MOST):
        if estimate.size(*key).flops and not isinstance(key[0].options, CodeOptions):
            seconds = SECONDS / min(MOST, len(work))
            speeds[key] = _measured(*key, batches[key], estimate, seconds)
    if not speeds:
        return None
    usual = sum(speeds.values()) / len(speeds)
    seconds = sum(flops / speeds.get(key, usual) for key, flops in work.items())
    others = plan.by_stage("probe", "calibrate", "prepare", "teacher_outputs")
    seconds += sum(estimate.work(job).flops for job in others) / usual
    return Throughput(seconds, usual, cores or len(os.sched_getaffinity(0)))


def _measured(
    ref: PluginRef, set_name: str, batch: int, estimate: Estimate, seconds: float
) -> float:
    """Operations a second in steps of SGD on random images."""
    compute: Compute = estimate.plan.compute
    side = estimate.plan.study.data.sets[set_name].size
    flops = TRAINED * estimate.size(ref, set_name).flops
    batch = max(1, min(batch, int(SLOW * seconds / flops)))
    device = compute.device
    with threads(compute.threads), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build(ref, 10, [0.5] * 3, [0.2] * 3, 0, side).to(device).eval()
        images = torch.rand(batch, 3, side, side, device=device)
        images = images.contiguous(memory_format=torch.channels_last)
        labels = torch.zeros(batch, dtype=torch.int64, device=device)
        optimiser = torch.optim.SGD(network.parameters(), 1e-4)

        def step() -> None:
            with compute.autocast():
                loss = F.cross_entropy(network(images).float(), labels)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            if device == "cuda":
                torch.cuda.synchronize()

        step()  # torch chooses kernels and allocates memory
        # On a CPU count processor time, because other programs may be running.
        clock = time.perf_counter if device == "cuda" else time.process_time
        share = 1 if device == "cuda" else compute.threads
        start, steps = clock(), 0
        while not steps or clock() - start < seconds * share:
            step()
            steps += 1
        return steps * batch * flops * share / (clock() - start)
