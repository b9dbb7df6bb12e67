"""Out-of-distribution detection: does a network's confidence tell images that it cannot know?"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from pydantic import Field, model_validator

from kdpipe.base.errors import KdpipeError
from kdpipe.base.options import Options, optional
from kdpipe.probes.base import (
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
from kdpipe.probes.shared.roc import auc, false_positives


class Unknown(Options):
    """Images that a network cannot know: of another data set, of other domains, of other classes,
    or of both."""

    set: str | None = optional(
        description="Another data set of the study, whose images in `domains` are unknown, "
        "whatever their classes; null for the probed one."
    )
    domains: list[str] = Field(
        [], description="Domains of the unknown images; empty for the probed domain itself."
    )
    classes: list[str] = Field(
        [],
        description="Classes that are unknown, such as `['5', '6']`, and that no known image is "
        "of; empty for all images of the domains.",
    )

    @model_validator(mode="after")
    def _some(self) -> Unknown:
        if not self.domains and not self.classes:
            what = "the set's domains" if self.set else "domains, classes, or both"
            raise ValueError(f"unknown: name {what}")
        if self.set and self.classes:
            raise ValueError(
                "unknown.classes: all images of another set are unknown; leave classes out"
            )
        return self


class OodOptions(ProbeOptions):
    min_gap: float = Field(
        0.02, ge=0, description="Smallest gap that counts, as an area under the curve in [0, 1]."
    )
    unknown: Unknown = Field(description="Images of the set that networks were not trained on.")
    replicates: int = Field(200, ge=0, description="Bootstrap resamples of either kind of images.")


@probes.register("ood")
class Ood(Probe):
    """How well two scores tell known from unknown images: the maximum of the softmax (Hendrycks &
    Gimpel 2017, Sec. 2) and the negative energy log Σ exp(logits) at temperature 1 (Liu et al.
    2020, Eq. 4).

    ``auroc_…``: P(score of a known image > score of an unknown one), ties count half. ``fpr95_…``:
    share of unknown images that score at least as high as the threshold that 95 % of the known ones
    reach: the first point of the ROC curve with a true positive rate of 0.95 or more.
    """

    Options = OodOptions
    title = "Detection of unknown images"
    compared = "confidence on known and unknown images"
    how = (
        "Known test images are mixed with images of what no network was trained on. Two scores are "
        "taken as the sign of a known image: the probability of the answer, and the negative "
        "energy (the log of the sum of exponentiated logits). Counted is how well a score tells "
        "the two apart: the area under its ROC curve (0.5 for a coin), and how many unknown images "
        "pass where 95 % of the known ones do."
    )
    metrics = {
        "auroc_softmax": Metric("AUROC, maximum softmax", "", level=0.5),
        "fpr95_softmax": Metric("Unknown images that pass, maximum softmax"),
        "auroc_energy": Metric("AUROC, energy", "", level=0.5),
        "fpr95_energy": Metric("Unknown images that pass, energy"),
    }
    panels = Panels(
        title="Does a network notice what it cannot know?",
        x="Domain of the known images and what is unknown",
        caption="Area under the ROC curve of two scores that should be higher on known images "
        "(dotted line: a coin), and the share of unknown images that pass at the threshold which "
        "95 % of the known images reach (lower is better).",
    )
    chapter = "robustness"
    place = 72
    audit_needs = "unknown images"

    @classmethod
    def sets(cls, options: OodOptions) -> dict[str, list[str]]:
        unknown = options.unknown
        return {unknown.set: unknown.domains} if unknown.set else {}

    @classmethod
    def passes(cls, options: OodOptions, n: int) -> int:
        """Each domain, and those of unknown images, which all domains share."""
        return n * (1 + len(options.unknown.domains))

    def measure(self, bench: Bench) -> Records:
        o = self.options
        unknown_class = self._unknown_classes(bench.classes)
        records = Records()
        for domain in o.domains:
            known = self._scores(bench, domain, ~unknown_class)
            for first, other, named in self._unknown(domain):
                if o.unknown.set:
                    beside = bench.images_beside(o, o.unknown.set, other)
                    unknown = self._scored(bench, beside, np.ones(len(beside), dtype=bool))
                else:
                    mask = unknown_class if o.unknown.classes else ~unknown_class
                    unknown = self._scores(bench, other, mask)
                where = condition(domain=domain, unknown=named)
                self._one(records, where, known, unknown, first and domain == o.primary_domain)
        return records

    def _unknown(self, domain: str) -> Iterator[tuple[bool, str, str]]:
        """Whether it is the first, the domain, and the name of each kind of unknown images."""
        classes = "+".join(sorted(set(self.options.unknown.classes)))
        for k, other in enumerate(self.options.unknown.domains or [domain]):
            if other == domain and not classes and not self.options.unknown.set:
                raise KdpipeError(
                    f"Probe {self.name}: domain '{domain}' is known and unknown at once; leave it "
                    f"out of unknown.domains, or name unknown.classes."
                )
            parts = [other] if self.options.unknown.domains else []
            parts = [*([self.options.unknown.set] if self.options.unknown.set else []), *parts]
            yield k == 0, other, ":".join([*parts, *([classes] if classes else [])])

    def _unknown_classes(self, classes: list[str]) -> np.ndarray:
        """Mask (classes,); raises KdpipeError for a class that the set lacks, or if all are."""
        for name in self.options.unknown.classes:
            if name not in classes:
                raise KdpipeError(
                    f"Probe {self.name}: unknown.classes: there is no class '{name}'; the set has "
                    f"{', '.join(classes)}."
                )
        mask = np.isin(classes, self.options.unknown.classes)
        if mask.all():
            raise KdpipeError(f"Probe {self.name}: unknown.classes leaves no class to be known.")
        return mask

    def _scores(self, bench: Bench, domain: str, wanted: np.ndarray) -> dict[str, np.ndarray]:
        """Both scores of the images of ``wanted`` classes, (n,) each."""
        images = bench.image_set(self.options, domain)
        here = wanted[images.labels]
        if not here.any():
            raise KdpipeError(
                f"Probe {self.name}: domain '{domain}' has no {self.options.split} image of the "
                f"classes {', '.join(np.array(bench.classes)[wanted])}; give it more images."
            )
        return self._scored(bench, images, here)

    def _scored(self, bench: Bench, images: ImageSet, here: np.ndarray) -> dict[str, np.ndarray]:
        """Both scores of the images in the mask ``here``."""
        logits = bench.clean_logits(bench.subject, images).double()
        return {
            "softmax": logits.softmax(1).amax(1).numpy()[here],
            "energy": logits.logsumexp(1).numpy()[here],
        }

    def _one(
        self,
        records: Records,
        where: str,
        known: dict[str, np.ndarray],
        unknown: dict[str, np.ndarray],
        primary: bool,
    ) -> None:
        n, m, times = len(known["softmax"]), len(unknown["softmax"]), self.options.replicates
        rows = list(zip(resamples(n, times, "known"), resamples(m, times, "unknown"), strict=True))
        for score in ("softmax", "energy"):
            inside, outside = known[score], unknown[score]
            records.add_set(
                Statistic(
                    condition=where,
                    metric=f"auroc_{score}",
                    primary=primary and score == "softmax",
                ),
                auc(outside, inside),
                [auc(outside, inside, (b, a)) for a, b in rows],
                n=n + m,
            )
            records.add_set(
                Statistic(condition=where, metric=f"fpr95_{score}"),
                false_positives(inside, outside),
                [false_positives(inside[a], outside[b]) for a, b in rows],
                n=n + m,
            )
