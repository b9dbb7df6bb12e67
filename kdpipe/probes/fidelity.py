"""Fidelity: how closely the student's predictive distribution follows the teacher's."""

from __future__ import annotations

import torch.nn.functional as F
from pydantic import Field

from kdpipe.probes.base import Bench, Probe, ProbeOptions, condition, probes
from kdpipe.probes.shared.description import Metric, Panels
from kdpipe.probes.shared.records import Records, Statistic

OF_SHARES = ProbeOptions.model_fields["min_gap"].default
"""Smallest gap of an agreement, which is no divergence."""


class FidelityOptions(ProbeOptions):
    # A probability of 78 % where the teacher says 90 % is 0.05 nats away.
    min_gap: float = Field(
        0.05, ge=0, description="Smallest gap that counts, as a divergence in nats."
    )


@probes.register("fidelity")
class Fidelity(Probe):
    """KL(teacher ‖ student) in nats and top-1 agreement (Stanton et al. 2021, Eqs. 3–4).

    The divergence is what is judged: the agreement is the question of ``consensus``. Its target is
    0, the teacher's own distance from itself.
    """

    Options = FidelityOptions
    relational = True
    title = "Fidelity"
    compared = "teacher's probabilities on test images"
    how = (
        "The Kullback-Leibler divergence of the student's probabilities from the teacher's on test "
        "images, 0 where they are equal, and the share of images on which both give the same class."
    )
    metrics = {
        "predictive_kl": Metric("KL from the teacher", "nats"),
        "top1_agreement": Metric("Same answer as teacher"),
    }
    panels = Panels(
        title="Fidelity to the teacher's answers",
        x="Domain of the test images",
        caption="Divergence of the student's probabilities from the teacher's (KL, 0 = equal), and "
        "the share of test images on which the student's top answer is the teacher's. Fidelity on "
        "images like those of training is what the objectives ask for; it is no property by "
        "itself.",
    )
    chapter = "errors"
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
                condition=where, metric="top1_agreement", target="one", min_gap=OF_SHARES
            )
            records.add(agreement, (mine.argmax(1) == theirs.argmax(1)), unit_ids=images.ids)
            divergence = F.kl_div(
                mine.log_softmax(1), theirs.log_softmax(1), reduction="none", log_target=True
            ).sum(1)
            records.add(
                Statistic(condition=where, metric="predictive_kl", target="zero", primary=primary),
                divergence.numpy(),
                unit_ids=images.ids,
            )
        return records
