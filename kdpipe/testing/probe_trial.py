"""What a probe is tried on: small images and untrained networks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from kdpipe.base.paths import ModelRef
from kdpipe.base.registry import Registry
from kdpipe.data.store import Subset
from kdpipe.models.base import Network
from kdpipe.probes import probes
from kdpipe.probes.base import Bench, Probe
from kdpipe.probes.shared.records import Records
from kdpipe.testing import trial_images
from kdpipe.training.compute import Compute

TEACHER, SECOND_TEACHER, STUDENT, OTHER_STUDENT, FOREIGN = range(5)
"""Networks, by the seed of their weights."""


@dataclass
class ProbeTrial:
    """A probe, 24 images in each of two domains, and networks of 4 classes.

    ``linear``: the networks are affine in the image.
    """

    cls: type[Probe]
    options: Any
    folder: Path
    linear: bool = False
    registry: Registry[Any] = probes

    def subset(self, each: int = trial_images.EACH) -> Subset:
        return trial_images.write_subset(self.folder / f"{each}", each)

    def bench(
        self,
        seed: int = STUDENT,
        teacher: int | None = TEACHER,
        compute: Compute | None = None,
        each: int = trial_images.EACH,
        sealed: bool = False,
    ) -> Bench:
        """What a job hands to ``measure``: student ``seed`` beside ``teacher``, with what was
        calibrated on it."""
        subset, compute = self.subset(each), compute or Compute()
        network = partial(self._network, device=compute.device, sealed=sealed)
        students = network(seed)
        ref = None if teacher is None else ModelRef(model="teacher", seed=teacher)
        bench = Bench(
            subset=subset,
            subject=students,
            compute=compute,
            classes=subset.classes,
            reference=None
            if teacher is None
            else students
            if teacher == seed
            else network(teacher),
            reference_ref=ref,
            others={other.path: network(FOREIGN) for other in self.cls.networks(self.options)},
        )
        if self.cls.calibrated and ref is not None:
            attacked = {ref.path: bench.teacher, **bench.others}
            for path, own in attacked.items():
                looked_at = Bench(subset, own, compute, subset.classes)
                bench.calibrations[path] = self.cls(self.options).calibrate(looked_at)
        return bench

    def _network(self, seed: int, device: str, sealed: bool) -> Network:
        made = trial_images.network(self.subset(), seed, linear=self.linear, sealed=sealed)
        return made.to(device)

    def measured(self, bench: Bench | None = None, **about: Any) -> Records:
        bench = bench or self.bench(teacher=self.usual_teacher, **about)
        return self.cls(self.options).measure(bench)

    @property
    def usual_teacher(self) -> int | None:
        return TEACHER if self.cls.relational else None
