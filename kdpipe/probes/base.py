"""What a probe is: one property of a network, or of a network beside its teacher."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from pydantic import (
    Field,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)
from torch import Tensor

from kdpipe.base.options import Options
from kdpipe.base.paths import ModelRef, TeacherRef
from kdpipe.base.plugin import STUDY_FILE
from kdpipe.base.seeding import ranks, stream
from kdpipe.data.class_maps import ClassMapRef
from kdpipe.data.images import as_float
from kdpipe.data.lazy import LazyPixels
from kdpipe.data.selection import Selection, select
from kdpipe.data.store import Subset
from kdpipe.models.base import Network
from kdpipe.probes import probes as probes
from kdpipe.probes.shared.conditions import condition as condition
from kdpipe.probes.shared.description import Described
from kdpipe.probes.shared.records import Records
from kdpipe.training.compute import Compute

BATCH = 256

Part = Mapping[str, Tensor]
"""Some of what a probe needs of a teacher on the images of a domain: tensors by name."""


class ProbeOptions(Options):
    """Options every probe has."""

    set: str | None = Field(None, description="Data set; null for the student's own.")
    domains: list[str] = Field([], description="Domains to probe; empty for the student's own.")
    split: Literal["val", "test"] = Field("test", description="Images to probe.")
    limit: int | None = Field(None, ge=1, description="Images per domain; null for all.")
    primary: str | None = Field(
        None, description="Domain of the primary statistic; null for the first."
    )
    min_gap: float = Field(
        0.02,
        ge=0,
        description="Smallest gap between independent students and target that counts as one, in "
        "the unit of the primary metric: fractions for shares of images, else its own. Read by "
        "the tables alone.",
    )
    class_map: ClassMapRef | None = Field(
        None,
        description="How a network of other classes decides on the set's; null for the set's own.",
    )

    @model_validator(mode="after")
    def _distinct(self) -> ProbeOptions:
        """A domain or strength listed twice would count every image twice in the tables."""
        for name, value in self:
            if isinstance(value, list) and any(value.count(entry) > 1 for entry in value):
                raise ValueError(f"{name}: an entry is listed twice")
        return self

    @model_serializer(mode="wrap")
    def _dumped(
        self, dump: SerializerFunctionWrapHandler, info: SerializationInfo
    ) -> dict[str, Any]:
        """Judging is the tables' business: ``min_gap`` stands in a study file and in no job, so
        that another one measures nothing again."""
        found = dump(self)
        if info.context != STUDY_FILE:
            found.pop("min_gap", None)
        return found

    @property
    def primary_domain(self) -> str:
        """The domain that a verdict is about."""
        return self.primary or self.domains[0]


@dataclass(frozen=True)
class ImageSet:
    """Images of one domain: uint8 (n, 3, h, w) and what is known of each, (n,).

    Too many images to hold are decoded when they are indexed or split.
    """

    domain: str
    pixels: Tensor | LazyPixels
    labels: np.ndarray
    ids: np.ndarray
    groups: np.ndarray
    cues: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def images(self) -> Tensor:
        """Float in [0, 1], channels last; all at once."""
        return as_float(self.pixels[:])


@dataclass
class Bench:
    """Everything a probe may look at: the networks of its job and the images of its set.

    ``reference`` is the teacher of a relational probe. ``beside`` holds the further data sets that
    the probes asked for, by their names. ``others`` holds further networks the
    probe asked for, ``calibrations`` what was calibrated on a network, ``stored`` what the stage
    ``prepare`` stored of a network and gives by domain, each by network path.
    """

    subset: Subset
    subject: Network
    compute: Compute
    classes: list[str]
    reference: Network | None = None
    reference_ref: TeacherRef | None = None
    others: dict[str, Network] = field(default_factory=dict)
    calibrations: dict[str, dict[str, Any]] = field(default_factory=dict)
    stored: dict[str, Callable[[str], Iterator[Part]]] = field(default_factory=dict)
    beside: dict[str, Subset] = field(default_factory=dict)
    _images: dict[Any, ImageSet] = field(default_factory=dict)
    _logits: dict[Any, Tensor] = field(default_factory=dict)

    @property
    def teacher(self) -> Network:
        """The reference, for probes that are ``relational``."""
        assert self.reference is not None, "a relational probe runs with a reference"
        return self.reference

    def prepared(
        self, probe: Probe, images: ImageSet, network: TeacherRef | None = None
    ) -> Iterator[Part]:
        """The parts that ``probe.prepare`` gives for ``network``, or for the teacher.

        They come from the file of the stage ``prepare``, or are computed here where there is none.
        """
        ref = network or self.reference_ref
        path = ref.path if ref else ""
        if path in self.stored:
            return self.stored[path](images.domain)
        of = self.teacher if ref == self.reference_ref else self.others[path]
        return probe.prepare(self, of, images, self.calibrations.get(path, {}))

    def image_set(self, options: ProbeOptions, domain: str, split: str | None = None) -> ImageSet:
        """Images of ``domain``; where ``limit`` bounds them, a fixed random choice."""
        key = (options.set, domain, split or options.split, options.limit)
        if key not in self._images:
            wanted = Selection(set=str(options.set), domains=[domain])
            rows = select(self.subset.index, wanted, key[2], compose=False)
            self._images[key] = self._shown(domain, rows, options.limit)
        return self._images[key]

    def images_beside(self, options: ProbeOptions, name: str, domain: str) -> ImageSet:
        """Images of ``domain`` of the further data set ``name``, whose classes the networks need
        not know; where ``limit`` bounds them, a fixed random choice."""
        key = ("beside", name, domain, options.split, options.limit)
        if key not in self._images:
            subset = self.beside[name]
            rows = select(
                subset.index, Selection(set=name, domains=[domain]), options.split, compose=False
            )
            self._images[key] = self._shown(domain, rows, options.limit, subset)
        return self._images[key]

    def training_set(self, options: ProbeOptions, selection: Selection, domain: str) -> ImageSet:
        """Images of ``domain`` that a model with the data ``selection`` is trained on, with their
        true labels; where ``limit`` bounds them, a fixed random choice."""
        key = (selection.model_dump_json(), domain, options.limit)
        if key not in self._images:
            index = self.subset.index
            rows = select(index, selection, "train")
            rows = rows[index["domain"][rows] == domain]
            self._images[key] = self._shown(domain, rows, options.limit)
        return self._images[key]

    def _shown(
        self, domain: str, rows: np.ndarray, limit: int | None, subset: Subset | None = None
    ) -> ImageSet:
        subset = subset or self.subset
        index = subset.index
        if limit is not None and limit < len(rows):
            # By source image, so that every domain shows the same ones.
            order = ranks(stream("probe images"), index["source_id"][rows])
            rows = np.sort(rows[np.argsort(order, kind="stable")[:limit]])
        return ImageSet(
            domain,
            subset.access(rows, self.compute.device)[0],
            *(index[c][rows] for c in ("label", "sample_id", "group", "cue")),
        )

    def image_sets(self, options: ProbeOptions) -> Iterator[ImageSet]:
        """The images of each of ``options.domains``, in that order.

        Raises KdpipeError for a domain that the data set lacks or has no images of.
        """
        for domain in options.domains:
            yield self.image_set(options, domain)

    def clean_logits(self, network: Network, images: ImageSet) -> Tensor:
        """Logits (n, classes) of unchanged images; one forward pass serves every property."""
        key = (id(network), id(images))
        if key not in self._logits:
            parts = [self.logits(network, as_float(p)) for p in images.pixels.split(BATCH)]
            self._logits[key] = torch.cat(parts)
        return self._logits[key]

    @torch.no_grad()
    def logits(self, network: Network, images: Tensor) -> Tensor:
        """float32 logits (n, classes) of images in [0, 1], batch by batch, on the CPU."""
        parts = []
        with self.compute.autocast():
            for start in range(0, len(images), BATCH):
                parts.append(network(images[start : start + BATCH]).float())
        return torch.cat(parts).cpu()


class Probe(Described, ABC):
    """Base of the properties. What a property says of itself to readers is in ``Described``.

    ``family`` names the job a probe shares with its like. A ``relational`` probe compares the
    network with a reference (the teacher). With ``on_teacher`` it is also run on the teacher
    itself, whose value is then the target of other networks. One that ``looks_inside`` needs the
    layers of the networks, which a compiled one does not show; one that ``needs_places`` can look
    only at layers with feature maps of more than one place.

    One that is ``white_box`` changes its images by the network's own gradient; any other shows
    every network the same ones.

    One that is ``calibrated`` or ``prepared`` looks at the teacher, and at the ``networks`` it
    names, in jobs of their own, once for all students: ``calibrate`` fits settings, ``prepare``
    computes what depends on such a network and the images alone. ``measure`` finds the settings
    in ``bench.calibrations`` and the rest through ``bench.prepared``.

    >>> from kdpipe.probes.shared.records import Statistic
    >>> @probes.register("confidence")
    ... class Confidence(Probe):
    ...     "Probability of the most probable class."
    ...     title = "Confidence"
    ...     def measure(self, bench):
    ...         records = Records()
    ...         for images in bench.image_sets(self.options):
    ...             surest = bench.clean_logits(bench.subject, images).softmax(1).amax(1)
    ...             what = Statistic(
    ...                 condition=condition(domain=images.domain),
    ...                 metric="confidence",
    ...                 primary=images.domain == self.options.primary_domain,
    ...             )
    ...             records.add(what, surest.numpy(), unit_ids=images.ids)
    ...         return records
    >>> from kdpipe.testing import check_probe
    >>> check_probe(Confidence, {"limit": 20})
    """

    name: str
    Options: type[ProbeOptions] = ProbeOptions
    family: str = "predictions"
    relational: bool = False
    on_teacher: bool = False
    calibrated: bool = False
    prepared: bool = False
    looks_inside: bool = False
    needs_places: bool = False
    white_box: bool = False

    def __init__(self, options: Any) -> None:
        self.options = options

    @classmethod
    def networks(cls, options: Any) -> list[ModelRef]:
        """Models of the study that this probe needs beside subject and reference."""
        return []

    @classmethod
    def sets(cls, options: Any) -> dict[str, list[str]]:
        """Further data sets that it looks at beside its own, and the domains of each."""
        return {}

    @classmethod
    def of_pair(
        cls, options: Any, teacher: Selection, students: Sequence[Selection]
    ) -> dict[str, Any]:
        """Options that a pair fills in, where the probe looks at training images.

        ``teacher``: those of the teacher; ``students``: those of the students, with labels or with
        the teacher's answers.
        """
        return {}

    @classmethod
    def layers(cls, options: Any) -> tuple[Sequence[str], Sequence[str]]:
        """Layers that it looks at, of the network and of its reference; empty for the default."""
        return (), ()

    @classmethod
    def passes(cls, options: Any, n: int) -> int:
        """About how many forward passes each network makes for a domain of ``n`` images.

        A backward pass counts as two. Time limits on a cluster are estimated from it. Of a probe
        that is ``prepared``: how many the student makes.
        """
        return n

    @classmethod
    def calibration_passes(cls, options: Any, n: int) -> int:
        """The same of a calibration."""
        return cls.passes(options, n)

    @classmethod
    def prepared_passes(cls, options: Any, n: int) -> int:
        """The same of ``prepare``, for each network that it is called for."""
        return cls.passes(options, n)

    @classmethod
    def prepared_bytes(cls, options: Any, n: int, size: int) -> int:
        """How much ``prepare`` gives for a domain of ``n`` images, ``size`` pixels wide.

        0 for what is small beside the images.
        """
        return 0

    def calibrate(self, bench: Bench) -> dict[str, Any]:
        """Settings fitted once per network (``bench.subject``), where ``calibrated`` is set."""
        raise NotImplementedError

    def prepare(
        self, bench: Bench, network: Network, images: ImageSet, fitted: Mapping[str, Any]
    ) -> Iterator[Part]:
        """What every student is compared with, part by part, where ``prepared`` is set.

        It depends on ``network``, ``images`` and ``fitted`` alone (what ``calibrate`` fitted to
        the network). The parts come back from a file with the same numbers, on the CPU and
        contiguous. Raises KdpipeError where the images or the network do not allow it.
        """
        raise NotImplementedError

    @abstractmethod
    def measure(self, bench: Bench) -> Records:
        """What ``bench.subject`` does on the images of ``options.domains``.

        Outcomes of single images are under their ``sample_id``, so that networks are compared
        image by image. Raises KdpipeError where the images or networks do not allow it.
        """


def resamples(n: int, times: int, purpose: str) -> np.ndarray:
    """Bootstrap rows (times, n), the same for every network that is measured on n images."""
    rng = np.random.default_rng(stream("bootstrap", purpose, n))
    return rng.integers(0, n, size=(times, n))
