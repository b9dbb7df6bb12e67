"""Accuracy per group: is a teacher's bias against a group passed on?"""

from __future__ import annotations

import numpy as np
from pydantic import Field

from kdpipe.errors import KdpipeError
from kdpipe.probes.base import Bench, Probe, ProbeOptions, condition, probes
from kdpipe.results.records import Records, Statistic


class GroupAccuracyOptions(ProbeOptions):
    group: str | None = Field(
        None, description="Group of the primary statistic; null for the first in sorted order."
    )


@probes.register("group_accuracy")
class GroupAccuracy(Probe):
    """Top-1 per group and over all (Ojha et al. 2023, Sec. 5.2 and Table 14)."""

    Options = GroupAccuracyOptions
    title = "Accuracy per group"

    def measure(self, bench: Bench) -> Records:
        records = Records()
        for images in bench.image_sets(self.options):
            predicted = bench.clean_logits(bench.subject, images).argmax(1).numpy()
            correct = predicted == images.labels
            names = sorted(np.unique(images.groups))
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
        return records
