"""Top-1 accuracy per domain: what the teacher knows of domains its student never saw."""

from __future__ import annotations

from pydantic import Field

from kdpipe.probes.base import Bench, Probe, ProbeOptions, condition, probes
from kdpipe.probes.shared.description import Metric, Panels
from kdpipe.probes.shared.gaps import add_gaps
from kdpipe.probes.shared.records import Records, Statistic


class AccuracyOptions(ProbeOptions):
    replicates: int = Field(200, ge=0, description="Bootstrap resamples of each domain's images.")


@probes.register("accuracy")
class Accuracy(Probe):
    """Share of images whose most probable class is the label (Ojha et al. 2023, Table 13).

    Also the gap between the best and the worst domain, and the accuracy in the worst.
    """

    Options = AccuracyOptions
    title = "Accuracy"
    compared = "right answers"
    how = "The share of test images whose most probable class is the label, in each domain."
    metrics = {
        "accuracy": Metric("Accuracy"),
        "accuracy_gap": Metric("Best minus worst"),
        "worst_domain_accuracy": Metric("Accuracy in the worst domain"),
    }
    panels = Panels(
        title="Accuracy in every domain",
        x="Domain of the test images",
        caption="Share of test images whose top answer is right, per domain. Domains that a "
        "student never saw in training show whether the teacher's domain knowledge reached it. "
        "Where several domains were measured: the distance from the best to the worst, and the "
        "worst.",
    )
    chapter = "errors"
    place = 10
    in_paper = {"top1": "accuracy"}

    def measure(self, bench: Bench) -> Records:
        records = Records()
        correct = {}
        for images in bench.image_sets(self.options):
            predicted = bench.clean_logits(bench.subject, images).argmax(1).numpy()
            what = Statistic(
                condition=condition(domain=images.domain),
                metric="accuracy",
                primary=images.domain == self.options.primary_domain,
            )
            correct[images.domain] = predicted == images.labels
            records.add(what, correct[images.domain], unit_ids=images.ids)
        add_gaps(records, correct, condition(domain="all"), "domain", self.options.replicates)
        return records
