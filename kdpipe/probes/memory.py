"""Memory: does a network know the images that its teacher was trained on, which it never saw?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pydantic import Field

from kdpipe.base.errors import KdpipeError
from kdpipe.data.selection import Selection, select, training_labels
from kdpipe.data.wrong_labels import with_noise
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
from kdpipe.probes.shared.roc import auc


class MemoryOptions(ProbeOptions):
    min_gap: float = Field(
        0.02, ge=0, description="Smallest gap that counts, as an area under the curve in [0, 1]."
    )
    members: Selection | None = Field(
        None, description="Training images that may be remembered; null for the teacher's."
    )
    seen: list[Selection] | None = Field(
        None,
        description="Training images of the students, none of which may be among the members; null "
        "for those of the pair.",
    )
    replicates: int = Field(200, ge=0, description="Bootstrap resamples of the images.")


@probes.register("memory")
class Memory(Probe):
    """Membership by a threshold on the loss (Yeom et al. 2018, Sec. 3), as an area under its ROC
    curve, and how often a wrong label of the teacher's images is repeated.

    Members are the teacher's training images, with the labels that the teacher was told; the others
    are images of ``split``. Where labels of members are wrong (``labels`` of a model's data), the
    same share of the others has wrong labels, drawn alike, so that one who knows neither has 0.5.
    The loss is the cross-entropy. Raises KdpipeError where a student was trained on a member.
    """

    Options = MemoryOptions
    title = "Memory of training images"
    compared = "knows the teacher's training images from others"
    how = (
        "Images that the teacher was trained on and the students never saw, beside test images. "
        "The loss on an image is taken as the sign that it was trained on; the area under the "
        "curve of this test is 0.5 where nothing is remembered. Where the teacher was told wrong "
        "labels, counted is also how often a network answers them."
    )
    metrics = {
        "membership_auc": Metric("AUC of membership", "", level=0.5),
        "wrong_labels_repeated": Metric("Wrong labels repeated"),
        "accuracy": Metric("Accuracy on other images"),
    }
    panels = Panels(
        title="Does a student know its teacher's training images?",
        x="Domain of the images",
        caption="Area under the curve of a membership test by the loss, on training images of the "
        "teacher that no student saw and on test images (dotted line: nothing is remembered), and "
        "how often a network gives a training image the wrong label that the teacher was told.",
    )
    chapter = "fairness"
    place = 170
    audit_needs = "training images"

    @classmethod
    def of_pair(
        cls, options: MemoryOptions, teacher: Selection, students: Sequence[Selection]
    ) -> dict[str, Any]:
        members = options.members or teacher
        return {
            "members": members,
            "seen": list(students) if options.seen is None else options.seen,
            "set": options.set or members.set,
            "domains": options.domains or members.domains,
        }

    @classmethod
    def passes(cls, options: MemoryOptions, n: int) -> int:
        return 2 * n

    def measure(self, bench: Bench) -> Records:
        members = self._members(bench)
        records = Records()
        for domain in self.options.domains:
            if domain not in members.domains:
                raise KdpipeError(
                    f"Probe {self.name}: the teacher was not trained on domain '{domain}' but on "
                    f"{', '.join(members.domains)}; probe one of these."
                )
            own = bench.training_set(self.options, members, domain)
            others = bench.image_set(self.options, domain)
            self._one(bench, members, own, others, records)
        return records

    def _members(self, bench: Bench) -> Selection:
        members, index = self.options.members, bench.subset.index
        if members is None or members.set != self.options.set:
            raise KdpipeError(
                f"Probe {self.name} needs the training images of a teacher; give members, a "
                f"selection of data set '{self.options.set}', or use it in a pair."
            )
        sources = index["source_id"][select(index, members, "train")]
        for seen in self.options.seen or ():
            if seen.set == members.set:
                known = index["source_id"][select(index, seen, "train")]
                if len(both := np.intersect1d(sources, known)):
                    raise KdpipeError(
                        f"Probe {self.name}: students were trained on {len(both)} of the teacher's "
                        f"{len(np.unique(sources))} training images, which they must not have "
                        f"seen; give the models parts without common images, such as part: "
                        f"[0, 0.5] and part: [0.5, 1]."
                    )
        return members

    def _one(
        self, bench: Bench, members: Selection, own: ImageSet, others: ImageSet, records: Records
    ) -> None:
        index, n_classes = bench.subset.index, len(bench.classes)
        told = training_labels(index, own.ids, members, n_classes)
        wrong = told != own.labels
        outside_labels = others.labels
        if members.labels is not None:
            count = round(wrong.mean() * len(others))
            sources = index["source_id"][others.ids]
            outside_labels = with_noise(others.labels, sources, n_classes, members.labels, count)
        losses, answers = [], []
        for images, labels in ((own, told), (others, outside_labels)):
            logits = bench.clean_logits(bench.subject, images).double()
            surprise = -logits.log_softmax(1).numpy()
            losses.append(surprise[np.arange(len(labels)), labels])
            answers.append(logits.argmax(1).numpy())
        where = condition(domain=own.domain)
        times = self.options.replicates
        drawn = (
            resamples(len(own), times, "members"),
            resamples(len(others), times, "no members"),
        )
        area = Statistic(
            condition=where,
            metric="membership_auc",
            primary=own.domain == self.options.primary_domain,
        )
        inside, outside = losses
        replicates = [auc(inside, outside, pair) for pair in zip(*drawn, strict=True)]
        records.add_set(area, auc(inside, outside), replicates, n=len(own) + len(others))
        if wrong.any():
            repeated = Statistic(condition=where, metric="wrong_labels_repeated")
            records.add(repeated, (answers[0] == told)[wrong], unit_ids=own.ids[wrong])
        accuracy = Statistic(condition=where, metric="accuracy")
        records.add(accuracy, answers[1] == others.labels, unit_ids=others.ids)
