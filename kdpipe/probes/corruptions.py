"""Corruptions: is a network right on noisy, blurred and compressed images?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import not_
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from kdpipe.base.errors import KdpipeError
from kdpipe.base.options import optional
from kdpipe.base.paths import ModelRef
from kdpipe.base.seeding import ranks, stream
from kdpipe.data.corruptions import CORRUPTIONS, SEVERITIES, Kind, Scale, corrupted
from kdpipe.data.images import as_float
from kdpipe.models.base import Network
from kdpipe.probes.base import (
    BATCH,
    Bench,
    ImageSet,
    Probe,
    ProbeOptions,
    condition,
    probes,
    resamples,
)
from kdpipe.probes.shared.description import Metric, Panels
from kdpipe.probes.shared.records import Records, Statistic

REPLICATES = 200
Right = Mapping[tuple[str, int], np.ndarray]
"""Whether each image (n,) is answered right, by corruption and severity."""


@dataclass(frozen=True)
class Found:
    """Images of a domain: ``ids`` (n,), the clean ones where there are such, and which answers of a
    network to the corrupted ones are right."""

    ids: np.ndarray
    images: ImageSet | None
    right: Callable[[Network], Right]


# Gaussian blur is among the extra corruptions of the paper, for choosing settings.
PUBLISHED: list[Kind] = [kind for kind in CORRUPTIONS if kind != "gaussian_blur"]


class CorruptionsOptions(ProbeOptions):
    limit: int | None = Field(1000, ge=1, description="Images per domain; null for all.")
    corruptions: list[Kind] = Field(
        PUBLISHED, min_length=1, description="What is done to the images."
    )
    severities: list[Annotated[int, Field(ge=1, le=5)]] = Field(
        list(SEVERITIES), min_length=1, description="How strong it is, from 1 to 5."
    )
    constants: Scale = Field(
        "cifar", description="Strengths of CIFAR-10-C (32 pixels) or of ImageNet-C (224 pixels)."
    )
    stored: bool = Field(
        False,
        exclude_if=not_,
        description="Whether the images of the set are corrupted already, as those of the sources "
        "`cifar10_c` and `imagenet_c`, which name corruptions and severities; `limit` then counts "
        "photographs.",
    )
    baseline: ModelRef | None = optional(
        description="Another network of the study in the place of AlexNet, whose errors the mCE "
        "and the relative mCE divide by; null for neither.",
    )


@probes.register("corruptions")
class Corruptions(Probe):
    """Accuracy under the corruptions of Hendrycks & Dietterich 2019 (arXiv 1903.12261), with their
    published constants.

    ``mean_accuracy``: mean over corruptions and severities, image by image; 1 minus it is the mean
    corruption error that is reported on CIFAR-10-C. ``accuracy_lost``: how far it is below the
    accuracy on clean images, the relative corruption error without a baseline.

    With a ``baseline`` network b in the place of AlexNet, ``mce`` is the mean over corruptions c of
    Σ_s E_{s,c} / Σ_s E^b_{s,c}, and ``relative_mce`` that of Σ_s (E_{s,c} − E_clean) /
    Σ_s (E^b_{s,c} − E^b_clean), with errors E over severities s (Sec. 4.3). The baseline is a fixed
    yardstick: replicates resample the images of the subject alone. A corruption under which the
    baseline has no error, or loses none to it, is left out of the mean.
    """

    Options = CorruptionsOptions
    title = "Accuracy under corruptions"
    compared = "right answers on corrupted images"
    how = (
        "Test images are changed by noise, blur, brightness, contrast, pixelation and JPEG "
        "compression, each in several severities; counted are right answers, on average over all "
        "of them. The corrupted images are the same for every network."
    )
    metrics = {
        "mean_accuracy": Metric("Accuracy, mean of corruptions"),
        "accuracy": Metric("Accuracy by corruption"),
        "clean_accuracy": Metric("Accuracy, clean", panel=False),
        "accuracy_lost": Metric("Accuracy lost to corruptions", panel=False),
        "mce": Metric("mCE", "", panel=False),
        "relative_mce": Metric("Relative mCE", "", panel=False),
    }
    panels = Panels(
        title="Accuracy under corruptions",
        x="Domain, corruption and severity",
        caption="Share of right answers on test images with a corruption of Hendrycks & Dietterich "
        "(2019): first the mean of all, then each by itself.",
    )
    chapter = "robustness"
    place = 45
    # Networks of others are large: 21 passes an image in place of 35.
    audit_options = {"limit": 200, "severities": [1, 3, 5]}

    @classmethod
    def networks(cls, options: CorruptionsOptions) -> list[ModelRef]:
        return [options.baseline] if options.baseline else []

    @classmethod
    def passes(cls, options: CorruptionsOptions, n: int) -> int:
        """Clean, and under each corruption; of stored images as many as were published."""
        kinds = len(options.corruptions) * len(options.severities)
        return 75 * n if options.stored else (1 + kinds) * n

    def measure(self, bench: Bench) -> Records:
        records = Records()
        for domain in self.options.domains:
            look = self._stored if self.options.stored else self._made
            self._one(records, domain, look(bench, domain), bench)
        return records

    def _one(self, records: Records, domain: str, found: Found, bench: Bench) -> None:
        o, where = self.options, condition(domain=domain)
        right = found.right(bench.subject)
        for (kind, severity), correct in right.items():
            place = condition(domain=domain, corruption=kind, severity=severity)
            what = Statistic(condition=place, metric="accuracy")
            records.add(what, correct, unit_ids=found.ids)
        mean = np.mean(list(right.values()), axis=0)
        primary = domain == o.primary_domain
        what = Statistic(condition=where, metric="mean_accuracy", primary=primary)
        records.add(what, mean, unit_ids=found.ids)
        clean = None if found.images is None else self._clean(bench, bench.subject, found.images)
        if clean is not None:
            what = Statistic(condition=where, metric="clean_accuracy")
            records.add(what, clean, unit_ids=found.ids)
            lost = Statistic(condition=where, metric="accuracy_lost")
            records.add(lost, clean - mean, unit_ids=found.ids)
        if o.baseline is None:
            return
        other = bench.others[o.baseline.path]
        theirs, plain = found.right(other), None
        if found.images is not None:
            plain = self._clean(bench, other, found.images)
        rows = [np.arange(len(found.ids)), *resamples(len(found.ids), REPLICATES, "corruptions")]
        kinds: list[tuple[str, Any, Any]] = [("mce", None, None)]
        if clean is not None and plain is not None:
            kinds.append(("relative_mce", clean, plain))
        for metric, own, its in kinds:
            values = [ratio(right, theirs, own, its, drawn) for drawn in rows]
            if not np.isnan(values[0]):
                statistic = Statistic(condition=where, metric=metric)
                records.add_set(statistic, values[0], values[1:], n=len(found.ids))

    def _clean(self, bench: Bench, network: Network, images: ImageSet) -> np.ndarray:
        answers = bench.clean_logits(network, images).argmax(1).numpy()
        return (answers == images.labels).astype(float)

    def _made(self, bench: Bench, domain: str) -> Found:
        """The images of a domain, which are corrupted here."""
        o, images = self.options, bench.image_set(self.options, domain)

        def right(network: Network) -> Right:
            return {
                (kind, severity): self._answers(bench, network, images, kind, severity)
                == images.labels
                for kind in o.corruptions
                for severity in o.severities
            }

        return Found(images.ids, images, right)

    def _stored(self, bench: Bench, domain: str) -> Found:
        """The images of a domain that were corrupted by others, photograph by photograph."""
        options = self.options.model_copy(update={"limit": None})
        images = bench.image_set(options, domain)
        refs = bench.subset.index["source_ref"][images.ids]
        names, photos = np.unique([ref.split("/", 2)[-1] for ref in refs], return_inverse=True)
        kept = np.arange(len(names))
        if self.options.limit is not None:
            kept = np.sort(np.argsort(ranks(stream("probe images"), kept))[: self.options.limit])
        rows: dict[tuple[str, int], np.ndarray] = {}
        for group in sorted(set(images.groups.tolist())):
            kind, _, severity = group.rpartition("-")
            here = np.flatnonzero((images.groups == group) & np.isin(photos, kept))
            here = here[np.argsort(photos[here], kind="stable")]
            if not severity.isdigit() or not np.array_equal(photos[here], kept):
                raise KdpipeError(
                    f"Probe {self.name}: stored: the images of '{group}' are not the photographs "
                    f"of the set under one corruption and severity; read them with the source "
                    f"cifar10_c or imagenet_c, without per_class, or leave stored out."
                )
            rows[kind, int(severity)] = here

        def right(network: Network) -> Right:
            found = {}
            for kind, here in rows.items():
                parts = [here[k : k + BATCH] for k in range(0, len(here), BATCH)]
                shown = (as_float(images.pixels[torch.from_numpy(part)]) for part in parts)
                answers = [bench.logits(network, x).argmax(1).numpy() for x in shown]
                found[kind] = np.concatenate(answers) == images.labels[here]
            return found

        return Found(kept, None, right)

    def _answers(
        self, bench: Bench, network: Network, images: ImageSet, kind: Kind, severity: int
    ) -> np.ndarray:
        """Classes (n,) of the corrupted images, a batch at a time."""
        answers: list[Tensor] = []
        start = 0
        for pixels in images.pixels.split(BATCH):
            ids = images.ids[start : start + len(pixels)]
            start += len(pixels)
            shown = pixels.permute(0, 2, 3, 1).cpu().numpy()
            changed = corrupted(shown, ids, kind, severity, self.options.constants)
            made = torch.from_numpy(changed).permute(0, 3, 1, 2).to(pixels.device)
            answers.append(bench.logits(network, as_float(made)).argmax(1))
        return torch.cat(answers).numpy()


def ratio(
    right: Right,
    theirs: Right,
    clean: np.ndarray | None,
    plain: np.ndarray | None,
    rows: np.ndarray,
) -> float:
    """The mCE of a network with the right answers ``right`` beside a baseline with ``theirs``;
    with those on clean images, ``clean`` and ``plain``, the relative mCE. NaN where the baseline
    has nothing to divide by.

    ``rows``: images of the network, with repetition; all of the baseline's count once.
    """
    shares = []
    for kind in dict.fromkeys(kind for kind, _ in right):
        cells = [cell for cell in right if cell[0] == kind]
        before = 1.0 if clean is None else float(clean[rows].mean())
        base = 1.0 if plain is None else float(plain.mean())
        own = sum(before - float(right[cell][rows].mean()) for cell in cells)
        other = sum(base - float(theirs[cell].mean()) for cell in cells)
        if other > 0:
            shares.append(own / other)
    return float(np.mean(shares)) if shares else float("nan")
