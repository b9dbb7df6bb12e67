"""Accuracy per group: is a teacher's bias against a group passed on?"""

from __future__ import annotations

import numpy as np
from pydantic import Field

from kdpipe.base.errors import KdpipeError
from kdpipe.probes.base import Bench, Probe, ProbeOptions, condition, probes
from kdpipe.probes.shared.description import Metric
from kdpipe.probes.shared.gaps import add_gaps
from kdpipe.probes.shared.records import Records, Statistic


class GroupAccuracyOptions(ProbeOptions):
    group: str | None = Field(
        None, description="Group of the primary statistic; null for the first in sorted order."
    )
    replicates: int = Field(200, ge=0, description="Bootstrap resamples of each group's images.")


@probes.register("group_accuracy")
class GroupAccuracy(Probe):
    """Top-1 per group and over all (Ojha et al. 2023, Sec. 5.2 and Table 14).

    Also the gap between the best and the worst group, and the accuracy in the worst. What
    distillation gains on a group is the ``diff`` of that group's row in the transfer table.
    """

    Options = GroupAccuracyOptions
    title = "Group bias"
    compared = "right answers within a group"
    how = (
        "The share of right answers among the test images of each group. The gap is the teacher's "
        "weakness on a group that it knows too little of."
    )
    metrics = {
        "accuracy": Metric("Accuracy"),
        "accuracy_gap": Metric("Best minus worst"),
        "worst_group_accuracy": Metric("Accuracy in the worst group"),
    }
    chapter = "fairness"
    place = 60
    in_paper = {"top1": "accuracy"}
    audit_needs = "groups"

    def measure(self, bench: Bench) -> Records:
        records = Records()
        for images in bench.image_sets(self.options):
            predicted = bench.clean_logits(bench.subject, images).argmax(1).numpy()
            correct = predicted == images.labels
            names = [name for name in np.unique(images.groups) if name]  # '' is no group
            if not names:
                raise KdpipeError(
                    f"Probe {self.name}: no image of domain '{images.domain}' belongs to a group."
                )
            first = self.options.group or names[0]
            if first not in names:
                raise KdpipeError(
                    f"Probe {self.name}: domain '{images.domain}' has no group '{first}'; it has "
                    f"{', '.join(names)}."
                )
            for name in names:
                here = images.groups == name
                what = Statistic(
                    condition=condition(domain=images.domain, group=name),
                    metric="accuracy",
                    primary=name == first and images.domain == self.options.primary_domain,
                )
                records.add(what, correct[here], unit_ids=images.ids[here])
            overall = Statistic(
                condition=condition(domain=images.domain, group="all"), metric="accuracy"
            )
            records.add(overall, correct, unit_ids=images.ids)
            by_group = {name: correct[images.groups == name] for name in names}
            add_gaps(records, by_group, overall.condition, "group", self.options.replicates)
        return records
