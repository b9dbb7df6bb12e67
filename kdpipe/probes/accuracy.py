"""Top-1 accuracy per domain: what the teacher knows of domains its student never saw."""

from __future__ import annotations

from kdpipe.probes.base import Bench, Probe, condition, probes
from kdpipe.results.records import Records, Statistic


@probes.register("accuracy")
class Accuracy(Probe):
    """Share of images whose most probable class is the label (Ojha et al. 2023, Table 13)."""

    title = "Accuracy per domain"

    def measure(self, bench: Bench) -> Records:
        records = Records()
        for images in bench.image_sets(self.options):
            predicted = bench.clean_logits(bench.subject, images).argmax(1).numpy()
            what = Statistic(
                condition=condition(domain=images.domain),
                metric="accuracy",
                primary=images.domain == self.options.primary_domain,
            )
            records.add(what, predicted == images.labels, unit_ids=images.ids)
        return records
