"""Shape bias: on images whose cues disagree, how often does the network decide by shape?"""

from __future__ import annotations

import numpy as np

from kdpipe.base.errors import KdpipeError
from kdpipe.probes.base import Bench, Probe, condition, probes
from kdpipe.probes.shared.description import Metric, Panels
from kdpipe.probes.shared.records import Records, Statistic


@probes.register("shape_bias")
class ShapeBias(Probe):
    """Shape decisions / (shape + other-cue decisions), Geirhos et al. 2019.

    The label is the shape, the index column ``cue`` the class that the other cue (texture, or
    background colour) stands for. Decisions for neither, and images whose cues agree or that have
    no cue, do not count. A network that decides for neither cue on every image has no shape bias
    (NaN). Raises KdpipeError for a domain without a single conflict.
    """

    title = "Shape bias"
    compared = "decides by shape, not by the other cue"
    how = (
        "Test images whose shape says one class and whose other cue another. Of the answers that "
        "follow one of the two, counted is the share that follows the shape."
    )
    metrics = {
        "shape_bias": Metric("Shape decisions", level=0.5),
        "shape_accuracy": Metric("Accuracy by shape"),
    }
    panels = Panels(
        title="Shape against another cue",
        x="Domain of the images",
        caption="Images whose shape belongs to one class and whose other cue (texture, or the "
        "colour of the background) belongs to another. Shape decisions are counted among the "
        "answers that match one of the two; at the dotted line both cues weigh the same. Accuracy "
        "by shape counts all images.",
    )
    chapter = "invariances"
    place = 50
    in_paper = {"shape_bias": "shape_bias"}
    audit_needs = "cues"

    def measure(self, bench: Bench) -> Records:
        records = Records()
        for images in bench.image_sets(self.options):
            predicted = bench.clean_logits(bench.subject, images).argmax(1).numpy()
            conflict = (images.cues >= 0) & (images.cues != images.labels)
            if not conflict.any():
                raise KdpipeError(
                    f"Probe {self.name}: no image of domain '{images.domain}' has a cue that "
                    "stands for another class than its label; probe a domain with cue conflicts."
                )
            shape = conflict & (predicted == images.labels)
            other = conflict & (predicted == images.cues)
            where = condition(domain=images.domain)
            records.notes[where] = {
                "shape_decisions": int(shape.sum()),
                "other_cue_decisions": int(other.sum()),
                "conflict_images": int(conflict.sum()),
            }
            for metric, values in (
                ("shape_bias", np.where(shape | other, shape, np.nan)),
                ("shape_accuracy", np.where(conflict, shape, np.nan)),
            ):
                primary = metric == "shape_bias" and images.domain == self.options.primary_domain
                statistic = Statistic(
                    condition=where,
                    metric=metric,
                    primary=primary,
                    missing="it decides for neither cue on every image",
                )
                records.add(statistic, values, unit_ids=images.ids)
        return records
