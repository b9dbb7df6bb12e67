"""Top-1 accuracy per domain: what the teacher knows of domains its student never saw."""

from __future__ import annotations

from pydantic import Field

from kdpipe.probes.base import Bench, Probe, ProbeOptions, condition, probes
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
    title = "Accuracy per domain"

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
