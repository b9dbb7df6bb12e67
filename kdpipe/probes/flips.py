"""Flips: where is a student wrong that the network it replaces had right, and the other way?"""

from __future__ import annotations

from kdpipe.probes.base import Bench, Probe, condition, probes
from kdpipe.probes.shared.description import Metric, Panels
from kdpipe.probes.shared.records import Records, Statistic


@probes.register("flips")
class Flips(Probe):
    """Negative and positive flips (Yan et al. 2020, arXiv 2011.09161, Sec. 3).

    A negative flip is an image that the teacher gets right and the student wrong, a positive flip
    the other way round; both are shares of all images, so that positive − negative is the student's
    accuracy minus the teacher's. A student that answers as its teacher flips nothing: the target
    is 0. Flips against independent students (``…_of_independent``) are a join in the tables: the
    mean over independent students of other seeds, for these as for distilled ones.
    """

    relational = True
    title = "Flips"
    compared = "errors where the teacher is right"
    how = (
        "Of all test images, the share that the teacher gets right and the student wrong (negative "
        "flips), and the share that the teacher gets wrong and the student right (positive flips). "
        "Positive minus negative flips is the difference of the two accuracies. The same is "
        "counted against independent students of other seeds."
    )
    metrics = {
        "negative_flips": Metric("Negative flips"),
        "positive_flips": Metric("Positive flips"),
        "negative_flips_of_independent": Metric("Negative flips, independent"),
        "positive_flips_of_independent": Metric("Positive flips, independent"),
        "right": Metric("Right answers", panel=False),
    }
    panels = Panels(
        title="Answers that flip",
        x="Domain of the test images",
        caption="Negative flips: images that are right before a network is replaced by the student "
        "and wrong after it; positive flips: the other way round. First of the teacher, then of an "
        "independent student of another seed: two independent students show how many answers a "
        "new seed alone flips.",
    )
    chapter = "errors"
    place = 106

    def measure(self, bench: Bench) -> Records:
        records = Records()
        for images in bench.image_sets(self.options):
            right, teacher_right = (
                bench.clean_logits(network, images).argmax(1).numpy() == images.labels
                for network in (bench.subject, bench.teacher)
            )
            where = condition(domain=images.domain)
            statistics = {
                Statistic(
                    condition=where,
                    metric="negative_flips",
                    target="zero",
                    primary=images.domain == self.options.primary_domain,
                ): teacher_right & ~right,
                Statistic(condition=where, metric="positive_flips", target="zero"): right
                & ~teacher_right,
                Statistic(
                    condition=where,
                    metric="right",
                    target="none",
                    flips=("positive_flips_of_independent", "negative_flips_of_independent"),
                ): right,
            }
            for statistic, values in statistics.items():
                records.add(statistic, values, unit_ids=images.ids)
        return records
