"""Group fairness: are groups given the positive class, and right answers, equally often?"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from kdpipe.base.errors import KdpipeError
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

Array = NDArray[np.float64]


class FairnessOptions(ProbeOptions):
    min_gap: float = Field(
        0.02, ge=0, description="Smallest gap that counts, as a difference of two rates in [0, 1]."
    )
    positive: str | None = Field(
        None,
        description="Class that counts as the positive answer; null for the second of two classes.",
    )
    replicates: int = Field(200, ge=0, description="Bootstrap resamples of each group's images.")


def rates(said: NDArray[np.bool_], true: NDArray[np.bool_]) -> dict[str, Array]:
    """How often a group is given the positive class, of all its images and by their label.

    ``said`` and ``true``: boolean (…, n); returns ``selected``, ``true_positive`` and
    ``false_positive``, (…,) each, NaN where a group has no image of such a label.
    """

    def share(of: NDArray[np.bool_]) -> Array:
        count = of.sum(-1)
        return np.where(count > 0, (said & of).sum(-1) / np.maximum(count, 1), np.nan)

    return {
        "selected": np.asarray(said.mean(-1)),
        "true_positive": share(true),
        "false_positive": share(~true),
    }


def criteria(by_group: Mapping[str, Mapping[str, Array]]) -> dict[str, Array]:
    """Differences and ratios of rates between groups, as fairlearn defines them.

    ``by_group``: of ``rates``. A difference is the largest rate minus the smallest, a ratio the
    smallest divided by the largest (1 where all are 0), over groups that have the rate. Demographic
    parity compares ``selected``; equal opportunity ``true_positive``; equalized odds take the worse
    of ``true_positive`` and ``false_positive``. NaN where no group has a rate.
    """
    found = {}
    for name in ("selected", "true_positive", "false_positive"):
        stacked = np.stack([of[name] for of in by_group.values()])
        known = np.isfinite(stacked)
        high = np.where(known, stacked, -np.inf).max(0)
        low = np.where(known, stacked, np.inf).min(0)
        some = known.any(0)
        ratio = np.where(high > 0, low / np.where(high > 0, high, 1.0), 1.0)
        found[name] = np.where(some, high - low, np.nan), np.where(some, ratio, np.nan)
    differences, ratios = zip(found["true_positive"], found["false_positive"], strict=True)
    return {
        "equalized_odds_difference": np.maximum(*differences),
        "equalized_odds_ratio": np.minimum(*ratios),
        "equal_opportunity_difference": found["true_positive"][0],
        "equal_opportunity_ratio": found["true_positive"][1],
        "demographic_parity_difference": found["selected"][0],
        "demographic_parity_ratio": found["selected"][1],
    }


@probes.register("fairness")
class Fairness(Probe):
    """Demographic parity, equal opportunity (Hardt et al. 2016) and equalized odds, between groups.

    By the definitions of fairlearn (``fairlearn.metrics``), as differences (0 is fair) and ratios
    (1 is fair), of one positive class against all others. A group without images of a label has no
    rate of it and is left out of that rate, where fairlearn takes 0. The target is the teacher's
    own value: it shows whether a student inherits the teacher's unfairness.
    """

    Options = FairnessOptions
    title = "Group fairness"
    compared = "rates of the positive class between groups"
    how = (
        "How often images of a group are given the positive class: of all (demographic parity), of "
        "those that are of this class (equal opportunity), and the worse of that and of those that "
        "are not (equalized odds). A difference is the largest rate of a group minus the smallest, "
        "a ratio the smallest divided by the largest."
    )
    metrics = {
        "equalized_odds_difference": Metric("Equalized odds, difference"),
        "equal_opportunity_difference": Metric("Equal opportunity, difference"),
        "demographic_parity_difference": Metric("Demographic parity, difference"),
        "equalized_odds_ratio": Metric("Equalized odds, ratio", "", panel=False),
        "equal_opportunity_ratio": Metric("Equal opportunity, ratio", "", panel=False),
        "demographic_parity_ratio": Metric("Demographic parity, ratio", "", panel=False),
        "selected": Metric("Given the positive class", panel=False),
        "true_positive": Metric("True positives", panel=False),
        "false_positive": Metric("False positives", panel=False),
    }
    panels = Panels(
        title="Differences between groups",
        x="Domain of the test images",
        caption="Largest rate of a group minus the smallest; 0 treats groups alike. Equalized "
        "odds: the worse of true and false positives. Equal opportunity: true positives. "
        "Demographic parity: answers with the positive class, right or wrong.",
    )
    chapter = "fairness"
    place = 62
    audit_needs = "groups"

    def measure(self, bench: Bench) -> Records:
        records = Records()
        positive = self._positive(bench.classes)
        for images in bench.image_sets(self.options):
            said = bench.clean_logits(bench.subject, images).argmax(1).numpy() == positive
            true = images.labels == positive
            groups = self._groups(images)
            where = {
                "domain": images.domain,
                "positive": bench.classes[positive],
            }
            self._rates(records, images, groups, said, true, where)
            value = criteria({g: rates(said[own], true[own]) for g, own in groups.items()})
            drawn: dict[str, dict[str, Array]] = {}
            for group, own in groups.items():
                rows = own[resamples(len(own), self.options.replicates, "group rates")]
                drawn[group] = rates(said[rows], true[rows])
            spread = criteria(drawn)
            for metric in value:
                statistic = Statistic(
                    condition=condition(**where),
                    metric=metric,
                    primary=metric == "equalized_odds_difference"
                    and images.domain == self.options.primary_domain,
                    missing=f"no group has images of class {bench.classes[positive]}, or none has "
                    f"images of another class",
                )
                n = sum(map(len, groups.values()))
                records.add_set(statistic, float(value[metric]), spread[metric], n=n)
        return records

    def _positive(self, classes: list[str]) -> int:
        wanted = self.options.positive
        if wanted is None and len(classes) == 2:
            return 1
        if wanted is None:
            raise KdpipeError(
                f"Probe {self.name} compares how often groups are given one class, and there are "
                f"{len(classes)}; name it with positive."
            )
        if wanted not in classes:
            raise KdpipeError(
                f"Probe {self.name}: positive '{wanted}' is no class of the set; it has "
                f"{', '.join(classes)}."
            )
        return classes.index(wanted)

    def _groups(self, images: ImageSet) -> dict[str, NDArray[np.int64]]:
        """Rows of each group, two at least."""
        names = [name for name in np.unique(images.groups) if name]  # '' is no group
        if len(names) < 2:
            raise KdpipeError(
                f"Probe {self.name} compares groups, and the images of domain '{images.domain}' "
                f"belong to {len(names) or 'no'} group{'' if len(names) == 1 else 's'}."
            )
        return {name: np.flatnonzero(images.groups == name) for name in names}

    @staticmethod
    def _rates(
        records: Records,
        images: ImageSet,
        groups: dict[str, NDArray[np.int64]],
        said: NDArray[np.bool_],
        true: NDArray[np.bool_],
        where: dict[str, str],
    ) -> None:
        """The rates of each group, image by image."""
        for group, own in groups.items():
            of = {
                "selected": np.ones(len(own), dtype=bool),
                "true_positive": true[own],
                "false_positive": ~true[own],
            }
            for metric, counts in of.items():
                statistic = Statistic(condition=condition(**where, group=group), metric=metric)
                values = np.where(counts, said[own], np.nan)
                records.add(statistic, values, unit_ids=images.ids[own])
