"""What a job will need before anything runs: operations, hours and memory.

A scheduler has to grant enough, so numbers are rounded up. Operations and activations of networks
are counted on torch's meta device, and images from the listing of the source.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, cached_property, singledispatchmethod
from pathlib import Path
from typing import Any

from kdpipe.base import paths
from kdpipe.base.errors import KdpipeError
from kdpipe.base.options import Options
from kdpipe.base.paths import NetworkRef, TeacherRef
from kdpipe.base.plugin import PluginRef
from kdpipe.data.selection import Selection
from kdpipe.data.sources.base import Source
from kdpipe.data.store import HELD
from kdpipe.data.transfer import Transfer
from kdpipe.distill.base import Reuse
from kdpipe.plan.added import TRAINED, attack_passes, gradient_flops, reusing
from kdpipe.plan.counting import FLOAT, Size, counted, without_weights
from kdpipe.plan.pairs import taught_images
from kdpipe.plan.plan import Job, Plan
from kdpipe.plan.teacher_outputs import TeacherOutputs, with_size
from kdpipe.probes.base import BATCH, ProbeOptions
from kdpipe.stages.calibrate import CalibrateSettings
from kdpipe.stages.distil import DistilSettings
from kdpipe.stages.gate import FEWEST, FLOPS, GateSettings
from kdpipe.stages.order import TRAININGS
from kdpipe.stages.prepare import PrepareSettings
from kdpipe.stages.probe import ProbeSettings
from kdpipe.stages.shared.training import TrainingSettings, TrainSettings
from kdpipe.stages.subset import SubsetSettings

GFLOPS = {"cpu": 20.0, "cuda": 10_000.0}
"""Operations a second, in billions, of a thread of a CPU and of a GPU: a quarter of what the
default study's trainings reach on a Xeon with bf16, and of what a V100 does in ResNets."""
SAFETY = 2.0
"""The time limit is the estimate times this factor, because other jobs slow a shared node down."""
PROCESS_MB = {"cpu": 1200, "cuda": 5000}
"""MiB of a process that has imported torch, and with CUDA its libraries."""
COLLECTED_MB = 1500
"""MiB of the tables, which figures and report read as well."""
MOST_RETRIES = 100
"""A training that needs more submissions is too long for this machine."""
SHORTEST_MINUTES = 30
"""A time limit that leaves room for Slurm's warning and for a slow file system."""
STEP_MB = 500
# For a source that cannot be listed here: the size of the paper's ImageNet subsets.
UNKNOWN_IMAGES = 100_000
UNKNOWN_CLASSES = 100


@dataclass(frozen=True)
class Work:
    """What a job computes, and what it holds in memory for this."""

    flops: float = 0.0
    values: float = 0.0
    """Numbers in networks and activations; on a GPU they take none of the main memory."""
    megabytes: float = 0.0
    """MiB of images and of what is stored, always in main memory."""


@dataclass(frozen=True)
class Need:
    """What to ask a scheduler for."""

    hours: float
    """Estimated; 0 for jobs that neither train nor pass images through a network."""
    memory_mb: int
    minutes: int
    """The time limit of one submission."""

    @property
    def retries(self) -> int:
        """How often a job may be submitted again: once for each time limit it reaches, and two."""
        return min(MOST_RETRIES, math.ceil(self.hours * 60 / self.minutes) + 2)


class Estimate:
    """Work and needs of the jobs of a plan. ``data_root``: the folder of data on disk, if any."""

    def __init__(self, plan: Plan, data_root: Path | None = None) -> None:
        self.plan = plan
        root = plan.study.data.root
        self.data_root = data_root or (Path(root) if root else None)
        self.device = plan.compute.device
        limits = plan.study.resources
        threads = plan.compute.threads if self.device == "cpu" else 1
        self.speed = 1e9 * (limits.gflops or GFLOPS[self.device] * threads)
        # On the instance: caches on the class would keep every estimate alive.
        self.images = cache(self._images)
        self.divided = cache(self._divided)
        self.size = cache(self._size)
        self.reusing = cache(self._reusing)
        self.gradients = cache(self._gradients)
        self.table = cache(self._table)

    def need(self, job: Job) -> Need:
        """Hours, memory and time limit of ``job``."""
        work, limits = self.work(job), self.plan.study.resources
        seconds = work.flops / self.speed
        numbers = FLOAT * work.values / 2**20 if self.device == "cpu" else 0
        megabytes = work.megabytes + numbers + PROCESS_MB[self.device]
        minutes = max(SHORTEST_MINUTES, math.ceil(SAFETY * seconds / 60))
        return Need(
            hours=seconds / 3600,
            memory_mb=math.ceil(megabytes * limits.memory_factor / STEP_MB) * STEP_MB,
            minutes=min(minutes, limits.time_limit),
        )

    def work(self, job: Job) -> Work:
        """Operations and memory of ``job``."""
        if job.stage == "teacher_outputs":  # its settings do not name the pair
            return self._teacher_outputs(job.target)
        return self._work(job.settings)

    @cached_property
    def trainings(self) -> list[Need]:
        """Needs of every training of the study."""
        return [self.need(job) for job in self.plan.by_stage(*TRAININGS)]

    @property
    def small_trainings(self) -> bool:
        """Whether every training is short enough to be submitted together with others."""
        limit = self.plan.study.resources.small_minutes
        return all(need.hours * 60 < limit for need in self.trainings)

    def _table(self, name: str) -> TeacherOutputs:
        """Whether the teacher outputs of a pair are stored, and their size."""
        study = self.plan.study
        pair = study.pairs[name]
        classes = self.images(study.models[pair.like].data.set)[1]
        images = self.taught_images(pair.transfer, study.models[pair.like].data)
        precision = self.plan.compute.precision
        return with_size(study, study.pairs[name], precision, classes, images)

    def training_images(self, data: Selection) -> int:
        """About how many images a model is trained on."""
        entry = self.plan.study.data.sets[data.set]
        images, classes = self.images(data.set)
        share = self.divided(data.set)
        first, last = data.part or (0, 1)
        used = entry.split.train * (last - first)
        images = max(1, round(images * used * len(data.domains) / share))
        kept = max(1, classes - len(data.without or []))
        images = max(1, round(images * kept / classes))
        # Both limits count source images; each is in one domain or in all of them.
        domains = len(data.domains) if share == 1 else 1
        if data.per_class is not None:
            images = min(images, data.per_class * kept * domains)
        if data.per_group is not None:
            images = min(images, sum(data.per_group.values()) * domains)
        return images

    def taught_images(self, transfer: Transfer | None, own: Selection) -> int:
        """About how many images there are on which a student sees its teacher."""
        found = own if transfer is None else transfer.selection(own)
        if found is None:
            assert transfer is not None
            return transfer.images or self.training_images(own)
        return self.training_images(found)

    def epoch_images(self, settings: TrainingSettings) -> tuple[int, int]:
        """About how many images an epoch shows the network, and how many of them its teacher."""
        own = self.training_images(settings.data)
        transfer = settings.transfer if isinstance(settings, DistilSettings) else None
        if transfer is None:
            return own, own
        if transfer.beside:
            return 2 * own, own
        images = self.taught_images(transfer, settings.data)
        return images, images

    def training_flops(self, settings: TrainingSettings) -> float:
        """Operations of one training: three forward passes of the network for each image and
        epoch, one of the teacher if it answers at every step, and what the objective adds. 0 for a
        network from weights."""
        if isinstance(settings, TrainSettings) and settings.weights is not None:
            return 0.0
        shown, taught = self.epoch_images(settings)
        own, attacks = self.trained(settings).flops, 0
        if isinstance(settings, TrainSettings | DistilSettings) and (ref := settings.objective):
            attacks = attack_passes(ref.cls.attack(ref.options))
        flops = float(own) * (TRAINED * shown + attacks * taught)
        teacher = self._live_teacher(settings)
        if teacher is not None and isinstance(settings, DistilSettings):
            flops += (teacher.flops + self._explained(settings)) * taught
        return settings.recipe.epochs * flops

    def trained(self, settings: TrainingSettings) -> Size:
        """Size of the network that is trained, with what its objective puts behind it."""
        name = settings.data.set
        if isinstance(settings, DistilSettings):
            cls, options = settings.objective.cls, settings.objective.options
            reuse, reads = cls.reuses(options), cls.classifier_reads(options)
            if reuse and reads:
                teacher = self.plan.architecture(settings.teacher.members[0])
                return self.reusing(settings.network, teacher, reuse, reads, name)
        return self.size(settings.network, name)

    def _reusing(
        self, network: PluginRef, teacher: PluginRef, reuse: Reuse, reads: str, name: str
    ) -> Size:
        """Of ``network`` that classifies by a classifier of ``teacher``."""
        if network.cls.sealed or teacher.cls.sealed:
            return self.size(network, name)
        side, classes = self.plan.study.data.sets[name].size, self.images(name)[1]
        return reusing(network, teacher, reuse, reads, side, classes)

    def _explained(self, settings: DistilSettings) -> int:
        """Operations for one image of gradients in layers."""
        cls, options, name = settings.objective.cls, settings.objective.options, settings.data.set
        teacher = self.plan.architecture(settings.teacher.members[0])
        own = self.gradients(settings.network, name, cls.student_gradients(options), True)
        return own + self.gradients(teacher, name, cls.teacher_gradients(options), False)

    def _gradients(
        self, network: PluginRef, name: str, layers: tuple[str, ...], trained: bool
    ) -> int:
        side, classes = self.plan.study.data.sets[name].size, self.images(name)[1]
        return gradient_flops(network, side, classes, layers, trained=trained)

    def _live_teacher(self, settings: TrainingSettings) -> Size | None:
        """Size of the teacher if it answers at every step of a training, else None."""
        if not isinstance(settings, DistilSettings) or not settings.objective.cls.uses_teacher:
            return None
        if settings.tabulated and self.table(settings.ref.pair).wanted:
            return None
        return self._look(settings.teacher, settings.data.set)

    @singledispatchmethod
    def _work(self, settings: Options) -> Work:
        """Work of a job with these settings; here of tables, figures and report."""
        return Work(megabytes=COLLECTED_MB)

    @_work.register
    def _subset(self, settings: SubsetSettings) -> Work:
        return Work(megabytes=2 * self.pixels_mb(settings.name))

    @_work.register
    def _training(self, settings: TrainingSettings) -> Work:
        own = self.trained(settings)
        values, weights = own.activations, 4 * own.parameters  # with gradients and two averages
        if (teacher := self._live_teacher(settings)) is not None:
            weights += teacher.parameters
            values += teacher.activations
        # Activations and their gradients, and a batch that is being augmented.
        values = settings.recipe.batch_size * 2 * values + weights
        held = self.pixels_mb(settings.data.set, self.training_images(settings.data))
        transfer = settings.transfer if isinstance(settings, DistilSettings) else None
        if transfer and (images := transfer.selection(settings.data)) is not None:
            held += self.pixels_mb(images.set, self.training_images(images))
        return Work(self.training_flops(settings), values, held)

    def _teacher_outputs(self, target: str) -> Work:
        pairs = self.plan.study.pairs
        name = next(name for name in pairs if paths.teacher_outputs_file(name) == target)
        data, table = taught_images(self.plan.study, pairs[name]), self.table(name)
        assert data is not None, "noise has no table"
        size = self._look(pairs[name].teacher, data.set)
        views = table.views * self.training_images(data) if table.wanted else 0
        return self._passes(size.flops * views, [size], [data.set])

    @_work.register
    def _gate(self, settings: GateSettings) -> Work:
        size = self._look(settings.networks[0], settings.set)
        flops = len(settings.networks) * max(FLOPS[self.device], 2 * FEWEST * size.flops)
        return self._passes(flops, [size], [settings.set])

    @_work.register
    def _calibrate(self, settings: CalibrateSettings) -> Work:
        cls, options = settings.instance.probe.cls, settings.instance.probe.options
        size = self._look(settings.network, options.set)
        passes = cls.calibration_passes(options, self._probed(options, "val"))
        return self._passes(size.flops * passes, [size], [options.set])

    @_work.register
    def _prepare(self, settings: PrepareSettings) -> Work:
        probe = settings.instance.probe
        size = self._look(settings.network, probe.options.set)
        passes = self._in_all(probe, probe.cls.prepared_passes) if self._stores(probe) else 0
        kept = self.stored_bytes(probe)
        return self._passes(size.flops * passes, [size], [probe.options.set], kept)

    @_work.register
    def _probe(self, settings: ProbeSettings) -> Work:
        sizes, sets, flops = [], [], 0.0
        for probe in (instance.probe for instance in settings.instances):
            cls, options = probe.cls, probe.options
            refs = [*cls.networks(options), settings.reference]
            student = self._look(settings.subject, options.set)
            others = [self._look(ref, options.set) for ref in refs if ref]
            flops += self._in_all(probe, cls.passes) * student.flops
            if not (cls.prepared and self._stores(probe)):
                again = cls.prepared_passes if cls.prepared else cls.passes
                flops += self._in_all(probe, again) * sum(size.flops for size in others)
            sizes += [student, *others]
            sets.append(options.set)
        return self._passes(flops, sizes, sets)

    def _passes(
        self, flops: float, sizes: Iterable[Size], sets: Iterable[str], kept: float = 0
    ) -> Work:
        """Work of a job that passes data sets through networks of these ``sizes``, one batch of one
        network at a time, and keeps as many bytes."""
        values = max(BATCH * size.activations + 4 * size.parameters for size in sizes)
        return Work(flops, values, max(map(self.pixels_mb, sets)) + kept / 2**20)

    def stored_bytes(self, probe: PluginRef) -> int:
        """About how much a probe stores of one network for all students; 0 above the limit."""
        return self._prepared_bytes(probe) if self._stores(probe) else 0

    def _prepared_bytes(self, probe: PluginRef) -> int:
        size = self.plan.study.data.sets[str(probe.options.set)].size
        return self._in_all(probe, lambda options, n: probe.cls.prepared_bytes(options, n, size))

    def _stores(self, probe: PluginRef) -> bool:
        return self._prepared_bytes(probe) <= self.plan.study.compute.prepared_gb * 1e9

    def _in_all(self, probe: PluginRef, of_domain: Callable[[Any, int], int]) -> int:
        """What ``of_domain`` says of a domain's images, in all domains of a probe."""
        options = probe.options
        return len(options.domains) * of_domain(options, self._probed(options, options.split))

    def _look(self, ref: TeacherRef, name: str) -> Size:
        """Size of a network, or of several that answer one after the other."""
        sizes = [self._one(one, name) for one in ref.members]
        most = max(size.activations for size in sizes)
        return Size(sum(s.parameters for s in sizes), sum(s.flops for s in sizes), most)

    def _one(self, ref: NetworkRef, name: str) -> Size:
        job = self.plan.jobs.get(ref.path)
        if job and isinstance(job.settings, DistilSettings) and job.settings.data.set == name:
            return self.trained(job.settings)
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
