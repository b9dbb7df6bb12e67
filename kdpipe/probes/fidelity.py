"""Fidelity: how closely the student's predictive distribution follows the teacher's."""

from __future__ import annotations

import torch.nn.functional as F

from kdpipe.probes.base import Bench, Probe, condition, probes
from kdpipe.probes.shared.description import Metric, Panels
from kdpipe.probes.shared.records import Records, Statistic


@probes.register("fidelity")
class Fidelity(Probe):
    """Top-1 agreement and KL(teacher ‖ student) in nats (Stanton et al. 2021, Eqs. 3–4)."""

    relational = True
    title = "Fidelity"
    compared = "teacher's answer on test images"
    how = (
        "The share of test images on which student and teacher give the same class, and the "
        "Kullback-Leibler divergence of their probabilities."
    )
    metrics = {
        "top1_agreement": Metric("Same answer as teacher"),
        "predictive_kl": Metric("KL from the teacher", "nats"),
    }
    panels = Panels(
        title="Fidelity to the teacher's answers",
        x="Domain of the test images",
        caption="Share of test images on which the student's top answer is the teacher's, and the "
        "divergence of the student's probabilities from the teacher's (KL, 0 = equal). Fidelity on "
        "images like those of training is what the objectives ask for; it is no property by "
        "itself.",
    )
    place = 110
    in_paper = {"consensus": "top1_agreement"}

    def measure(self, bench: Bench) -> Records:
        records = Records()
        for images in bench.image_sets(self.options):
            mine = bench.clean_logits(bench.subject, images).double()
            theirs = bench.clean_logits(bench.teacher, images).double()
            where = condition(domain=images.domain)
            primary = images.domain == self.options.primary_domain
            agreement = Statistic(
                condition=where, metric="top1_agreement", target="one", primary=primary
            )
            records.add(agreement, (mine.argmax(1) == theirs.argmax(1)), unit_ids=images.ids)
            divergence = F.kl_div(
                mine.log_softmax(1), theirs.log_softmax(1), reduction="none", log_target=True
            ).sum(1)
            records.add(
                Statistic(condition=where, metric="predictive_kl", target="none"),
                divergence.numpy(),
                unit_ids=images.ids,
            )
        return records
