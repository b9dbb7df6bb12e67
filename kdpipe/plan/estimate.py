"""What a job will need: hours and memory, from the study alone, before anything runs.

Meant to ask a scheduler for enough, not to predict: the network's operations and activations are
counted on torch's meta device, the images from the source's listing, and both are rounded up.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from kdpipe.base.errors import KdpipeError
from kdpipe.base.paths import NetworkRef
from kdpipe.base.plugin import PluginRef
from kdpipe.data.selection import Selection
from kdpipe.data.sources.base import Source
from kdpipe.data.store import HELD
from kdpipe.plan.counting import Size, counted, without_weights
from kdpipe.plan.plan import Job, Plan
from kdpipe.plan.teacher_outputs import TeacherTable, teacher_table
from kdpipe.probes.base import BATCH, ProbeOptions
from kdpipe.stages.calibrate import CalibrateSettings
from kdpipe.stages.distil import DistilSettings
from kdpipe.stages.gate import FEWEST, FLOPS, GateSettings
from kdpipe.stages.order import TRAININGS
from kdpipe.stages.prepare import PrepareSettings
from kdpipe.stages.probe import ProbeSettings
from kdpipe.stages.shared.training import TrainingSettings, TrainSettings
from kdpipe.stages.subset import SubsetSettings
from kdpipe.stages.teacher_outputs import TeacherOutputsSettings

GFLOPS = {"cpu": 20.0, "cuda": 10_000.0}
"""Operations a second, in billions, of a thread of a CPU and of a GPU: a quarter of what the
default study's trainings reach on a Xeon with bf16, and of what a V100 does in ResNets."""
BACKWARD = 3
"""A training step costs three forward passes (forward, and gradients of inputs and of weights)."""
SAFETY = 2.0
"""A time limit is this often the estimate: other people compute on the node as well."""
# MiB of a process that has imported torch; with CUDA its libraries are mapped as well.
PROCESS_MB = {"cpu": 1200, "cuda": 5000}
MOST_RETRIES = 100
"""A training that would need more submissions is not made for this machine."""
SHORTEST_MINUTES = 30
"""A time limit that leaves room for Slurm's warning and for a slow file system."""
STEP_MB = 500
# Where a source cannot be listed here: as many as ImageNet's subsets of the paper.
UNKNOWN_IMAGES = 100_000
UNKNOWN_CLASSES = 100
FLOAT = 4


@dataclass(frozen=True)
class Need:
    """What to ask a scheduler for."""

    hours: float
    """Estimated; 0 for jobs that train nothing and look at few images."""
    memory_mb: int
    minutes: int
    """The time limit of one submission."""

    @property
    def retries(self) -> int:
        """How often a job may be submitted again: as often as the limit ends it, and two more."""
        return min(MOST_RETRIES, math.ceil(self.hours * 60 / self.minutes) + 2)


class Estimate:
    """Answers for the jobs of a plan. ``data_root``: where data on disk lies, if anywhere."""

    def __init__(self, plan: Plan, data_root: Path | None = None) -> None:
        self.plan = plan
        root = plan.study.data.root
        self.data_root = data_root or (Path(root) if root else None)
        self.device = plan.compute.device
        limits = plan.study.resources
        threads = plan.compute.threads if self.device == "cpu" else 1
        self.speed = 1e9 * (limits.gflops or GFLOPS[self.device] * threads)
        # One instance lives as long as a plan is looked at.
        self.images = cache(self._images)
        self.divided = cache(self._divided)
        self.size = cache(self._size)
        self.table = cache(self._table)

    def need(self, job: Job) -> Need:
        """Hours, memory and time limit of ``job``."""
        if isinstance(job.settings, TrainingSettings):
            seconds, megabytes = self._training(job.settings)
        elif isinstance(job.settings, SubsetSettings):
            seconds, megabytes = 0.0, 2 * self.pixels_mb(job.settings.name)
        elif job.stage in ("tables", "figures", "report"):
            seconds, megabytes = 0.0, 1500.0
        else:
            seconds, megabytes = self._looking(job)
        limits = self.plan.study.resources
        megabytes = (megabytes + PROCESS_MB[self.device]) * limits.memory_factor
        minutes = max(SHORTEST_MINUTES, math.ceil(SAFETY * seconds / 60))
        return Need(
            hours=seconds / 3600,
            memory_mb=math.ceil(megabytes / STEP_MB) * STEP_MB,
            minutes=min(minutes, limits.time_limit),
        )

    @cached_property
    def trainings(self) -> list[Need]:
        """Of every network that the study trains."""
        return [self.need(job) for job in self.plan.by_stage(*TRAININGS)]

    @property
    def small_trainings(self) -> bool:
        """Whether every training is short enough to be submitted together with others."""
        limit = self.plan.study.resources.small_minutes
        return all(need.hours * 60 < limit for need in self.trainings)

    def _table(self, name: str) -> TeacherTable:
        """What becomes of the teacher outputs of a pair."""
        study = self.plan.study
        data = study.models[study.pairs[name].like].data
        classes, images = self.images(data.set)[1], self.training_images(data)
        precision = self.plan.compute.precision
        return teacher_table(study, study.pairs[name], precision, classes, images)

    def training_images(self, data: Selection) -> int:
        """About how many images a model is trained on."""
        entry = self.plan.study.data.sets[data.set]
        images, classes = self.images(data.set)
        share = self.divided(data.set)
        images = max(1, round(images * entry.split.train * len(data.domains) / share))
        # Source images are bounded, of which each is in one domain or in all of them.
        domains = len(data.domains) if share == 1 else 1
        if data.per_class is not None:
            images = min(images, data.per_class * classes * domains)
        if data.per_group is not None:
            images = min(images, sum(data.per_group.values()) * domains)
        return images

    def training_flops(self, settings: TrainingSettings) -> float:
        """Operations of one training: three forward passes of the network for each image and
        epoch, and one of the teacher where it answers at every step. 0 where others trained."""
        if isinstance(settings, TrainSettings) and settings.weights is not None:
            return 0.0
        flops = float(BACKWARD * self.size(settings.network, settings.data.set).flops)
        if (teacher := self._live_teacher(settings)) is not None:
            flops += teacher.flops
        return settings.recipe.epochs * self.training_images(settings.data) * flops

    def _live_teacher(self, settings: TrainingSettings) -> Size | None:
        """Of the teacher that answers at every step of a training, where there is one."""
        if not isinstance(settings, DistilSettings):
            return None
        if not settings.objective.cls.uses_teacher:
            return None
        if settings.tabulated and self.table(settings.ref.pair).written:
            return None
        return self.size(self.plan.study.models[settings.teacher.model].network, settings.data.set)

    def _training(self, settings: TrainingSettings) -> tuple[float, float]:
        own = self.size(settings.network, settings.data.set)
        values, weights = own.activations, 4 * own.parameters  # gradients and two averages as well
        if (teacher := self._live_teacher(settings)) is not None:
            weights += teacher.parameters
            values += teacher.activations
        held = self.pixels_mb(settings.data.set, self.training_images(settings.data))
        # Activations and their gradients, and a batch that is being augmented.
        values = settings.recipe.batch_size * 2 * values + weights
        memory = held + (FLOAT * values / 2**20 if self.device == "cpu" else 0)
        return self.training_flops(settings) / self.speed, memory

    def _looking(self, job: Job) -> tuple[float, float]:
        """Gates, probes, calibrations, teacher outputs: what each network looks at, how often."""
        settings, kept = job.settings, 0
        if isinstance(settings, GateSettings):
            looks = [self._look(ref, settings.set) for ref in settings.networks[:1]]
            flops = len(settings.networks) * max(FLOPS[self.device], 2 * FEWEST * looks[0].flops)
            names = [settings.set]
        elif isinstance(settings, TeacherOutputsSettings):
            looks = [self._look(settings.teacher, settings.data.set)]
            flops = float(looks[0].flops * self.training_images(settings.data))
            names = [settings.data.set]
        elif isinstance(settings, CalibrateSettings):
            probe = settings.instance.probe
            options = probe.options
            looks = [self._look(settings.network, options.set)]
            images = self._probed(options, "val")
            flops = looks[0].flops * probe.cls.calibration_passes(options, images)
            names = [options.set]
        elif isinstance(settings, PrepareSettings):
            probe = settings.instance.probe
            looks = [self._look(settings.network, probe.options.set)]
            kept = self.prepared_bytes(probe)
            flops = float(looks[0].flops * self._in_all(probe, probe.cls.prepared_passes))
            names = [probe.options.set]
            if not self.stores(probe):
                flops, kept = 0.0, 0
        else:
            assert isinstance(settings, ProbeSettings)
            looks, names, flops = [], [], 0.0
            for instance in settings.instances:
                probe = instance.probe
                refs = [*probe.cls.networks(probe.options), settings.reference]
                student = self._look(settings.subject, probe.options.set)
                others = [self._look(ref, probe.options.set) for ref in refs if ref]
                flops += self._in_all(probe, probe.cls.passes) * student.flops
                if not (probe.cls.prepared and self.stores(probe)):
                    again = probe.cls.prepared_passes if probe.cls.prepared else probe.cls.passes
                    flops += self._in_all(probe, again) * sum(size.flops for size in others)
                looks += [student, *others]
                names.append(probe.options.set)
        held = max(self.pixels_mb(name) for name in names)
        values = max(BATCH * size.activations + 4 * size.parameters for size in looks)
        memory = held + (FLOAT * values / 2**20 if self.device == "cpu" else 0)
        return flops / self.speed, memory + kept / 2**20

    def prepared_bytes(self, probe: PluginRef) -> int:
        """About how much a probe prepares of one network, in all its domains."""
        size = self.plan.study.data.sets[str(probe.options.set)].size
        return self._in_all(probe, lambda options, n: probe.cls.prepared_bytes(options, n, size))

    def stores(self, probe: PluginRef) -> bool:
        """Whether that is within the limit, and computed once for all students."""
        return self.prepared_bytes(probe) <= self.plan.study.compute.prepared_gb * 1e9

    def _in_all(self, probe: PluginRef, of_domain: Callable[[Any, int], int]) -> int:
        """What ``of_domain`` says of a domain's images, in all domains of a probe."""
        options = probe.options
        return len(options.domains) * of_domain(options, self._probed(options, options.split))

    def _look(self, ref: NetworkRef, name: str) -> Size:
        return self.size(self.plan.architecture(ref), name)

    def _probed(self, options: ProbeOptions, split: str) -> int:
        """About how many images of a domain are probed."""
        name = str(options.set)
        share = getattr(self.plan.study.data.sets[name].split, split)
        images = round(self.images(name)[0] * share / self.divided(name))
        return max(1, min(images, options.limit or images))

    def pixels_mb(self, name: str, images: int | None = None) -> float:
        """MiB of decoded images that are held: those given, or the whole subset in all domains.

        A large set stays where it is, and only few of its images are ever held at once.
        """
        data = self.plan.study.data.sets[name]
        all_images = self.rendered(name)
        size = (all_images if images is None else images) * 3 * data.edge**2
        return (size if data.stores(all_images) else min(size, HELD)) / 2**20

    def rendered(self, name: str) -> int:
        """About how many images a data set has in all its domains."""
        domains = len(self.plan.study.data.sets[name].domains)
        return round(self.images(name)[0] * domains / self.divided(name))

    def _source(self, name: str) -> Source:
        return self.plan.study.data.sets[name].source.make(self.data_root)

    def _divided(self, name: str) -> int:
        """Among how many domains the images of a data set are divided; 1 where every domain is a
        version of each image."""
        source = self._source(name)
        if source.usual_domains or source.usual_images:
            return source.usual_domains or 1
        try:
            domains = source.listing().domains
        except (KdpipeError, OSError):
            return 1
        return 1 if domains is None else len(set(domains))

    def _images(self, name: str) -> tuple[int, int]:
        """Source images of a data set, and its classes; a guess where data is not here."""
        data = self.plan.study.data.sets[name]
        source = self._source(name)
        try:
            # Known of the usual sets; another one is listed.
            images, classes = source.n_images(), source.n_classes()
        except (KdpipeError, OSError):
            images, classes = UNKNOWN_IMAGES, UNKNOWN_CLASSES
        if data.per_class is not None:  # in every domain, where those are different images
            images = min(images, data.per_class * classes * self.divided(name))
        return images, len(data.classes) if data.classes else classes

    def _size(self, network: PluginRef, set_name: str) -> Size:
        """Of ``network`` on the images of a data set, counted once each."""
        if network.cls.sealed:
            return Size(0, 0, 0)  # nothing can be counted
        side = self.plan.study.data.sets[set_name].size
        return counted(without_weights(network, self.images(set_name)[1], side), network, side)


def print_needs(plan: Plan, data_root: Path | None) -> None:
    """A table of what the jobs of each stage are estimated to need, the largest of each."""
    from rich.console import Console
    from rich.table import Table

    estimate = Estimate(plan, data_root)
    table = Table(
        *("stage", "jobs", "hours in all", "longest", "memory (MB)", "time limit (min)"),
        title="Estimated needs, for a scheduler",
    )
    for stage in dict.fromkeys(job.stage for job in plan.jobs.values()):
        needs = [estimate.need(job) for job in plan.by_stage(stage)]
        table.add_row(
            stage,
            str(len(needs)),
            f"{sum(n.hours for n in needs):.2f}",
            f"{max(n.hours for n in needs):.2f}",
            f"{max(n.memory_mb for n in needs):,}",
            str(max(n.minutes for n in needs)),
        )
    console = Console()
    console.print(table)
    retries = max((n.retries for n in estimate.trainings), default=0)
    together = "in groups" if estimate.small_trainings else "one by one"
    console.print(f"trainings are submitted {together} and tried again up to {retries} times")
    if retries == MOST_RETRIES:
        longest = max(need.hours for need in estimate.trainings)
        console.print(
            f"The longest training is estimated at {longest:,.0f} h on this device "
            f"({estimate.device}): more than {retries} submissions; raise resources.time_limit, or "
            f"plan for a GPU (compute.device: cuda).",
            soft_wrap=True,
        )
