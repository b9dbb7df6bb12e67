"""Accuracy per class: which classes does a student lose or gain behind an equal average?"""

from __future__ import annotations

import numpy as np
from pydantic import Field

from kdpipe.base.errors import KdpipeError
from kdpipe.probes.base import Bench, Probe, ProbeOptions, condition, probes
from kdpipe.probes.shared.description import Metric, Panels
from kdpipe.probes.shared.gaps import add_gaps
from kdpipe.probes.shared.records import Records, Statistic


class ClassAccuracyOptions(ProbeOptions):
    replicates: int = Field(200, ge=0, description="Bootstrap resamples of each class's images.")


@probes.register("class_accuracy")
class ClassAccuracy(Probe):
    """Top-1 accuracy of every class, the worst of them, and the gap between best and worst.

    Mohammadshahi & Ioannou 2024 (arXiv 2410.08407) find up to 41 % of the classes changed by
    distillation. Which ones changed here is the table ``classes``, a join over distilled and
    independent students with Holm's correction over the classes: the exact McNemar test for one
    network a side, else the t-test of all rows of ``transfer``.
    """

    Options = ClassAccuracyOptions
    title = "Accuracy per class"
    compared = "right answers in the worst class"
    how = (
        "The share of right answers among the test images of each class; the smallest of these "
        "shares is judged. An average hides a class that a student lost."
    )
    metrics = {
        "worst_class_accuracy": Metric("Accuracy in the worst class"),
        "accuracy_gap": Metric("Best minus worst class"),
        "accuracy": Metric("Accuracy", panel=False),
    }
    panels = Panels(
        title="The worst class",
        x="Domain of the test images",
        caption="Share of right answers in the class with the fewest, and its distance from the "
        "class with the most. The classes themselves are in the tables.",
    )
    chapter = "errors"
    place = 64

    def measure(self, bench: Bench) -> Records:
        records = Records()
        for images in bench.image_sets(self.options):
            predicted = bench.clean_logits(bench.subject, images).argmax(1).numpy()
            correct = predicted == images.labels
            found = np.unique(images.labels)
            if len(found) < 2:
                raise KdpipeError(
                    f"Probe {self.name} compares classes, and domain '{images.domain}' has images "
                    f"of one alone; probe more images or another domain."
                )
            by_class = {}
            for label in found:
                name, here = bench.classes[label], images.labels == label
                where = condition(**{"domain": images.domain, "class": name})
                what = Statistic(condition=where, metric="accuracy")
                by_class[name] = correct[here]
                records.add(what, by_class[name], unit_ids=images.ids[here])
            add_gaps(
                records,
                by_class,
                condition(domain=images.domain),
                "class",
                self.options.replicates,
                primary=images.domain == self.options.primary_domain,
            )
        return records
