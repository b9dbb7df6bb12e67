"""Consensus: do student and teacher predict the same class, right or wrong?"""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from kdpipe.probes.base import Bench, Probe, ProbeOptions, condition, probes, resamples
from kdpipe.probes.shared.description import Metric, Panels
from kdpipe.probes.shared.records import Records, Statistic


class ConsensusOptions(ProbeOptions):
    replicates: int = Field(200, ge=0, description="Bootstrap resamples of the images.")
    without_errors: Literal["unknown", "one"] = Field(
        "unknown",
        description="Error consistency (κ) where both networks are right on every image, or wrong "
        "on every image, so that their accuracies explain all agreement: no value, because nothing "
        "is known of whether their errors meet, or 1, as in the toolbox model-vs-human.",
    )


def error_consistency(
    one: np.ndarray, two: np.ndarray, without_errors: float = np.nan
) -> np.ndarray:
    """Cohen's κ of two networks' correctness, boolean (…, n) each; returns (…,) in [−1, 1].

    Geirhos, Meding & Wichmann 2020, Eq. 1–3: agreement beyond what two independent observers of
    the same accuracies would show. ``without_errors`` where that expected agreement is 1: both are
    always right, or always wrong.
    """
    observed = (one == two).mean(-1)
    a, b = one.mean(-1), two.mean(-1)
    expected = a * b + (1 - a) * (1 - b)
    room = np.where(expected < 1, 1 - expected, np.nan)
    return np.where(expected < 1, (observed - expected) / room, without_errors)


@probes.register("consensus")
class Consensus(Probe):
    """Ojha et al. 2023, Sec. 4.5, Fig. 5 and Table 11.

    Consensus rises whenever both networks get better, hence also: consensus on the images that
    the teacher gets wrong, and error consistency. That has no value where both networks are right
    on every image (``without_errors``).
    """

    Options = ConsensusOptions
    relational = True
    title = "Unseen-domain consensus"
    compared = "teacher's answer, right or wrong"
    how = (
        "The share of test images on which student and teacher give the same class, right or "
        "wrong, also in domains that the student never saw."
    )
    metrics = {
        "consensus": Metric("Consensus"),
        "consensus_teacher_wrong": Metric("Consensus, teacher wrong"),
        "error_consistency": Metric("Error consistency", "Cohen's κ"),
    }
    panels = Panels(
        title="The same answers on unseen domains",
        x="Domain of the images",
        caption="Share of images on which a student gives the same answer as the teacher, right or "
        "wrong, in domains that it was not trained on; the same among images that the teacher gets "
        "wrong; and error consistency, the agreement on being right or wrong beyond what the two "
        "accuracies explain (Cohen's κ, 0 = chance).",
    )
    chapter = "errors"
    place = 100
    in_paper = {"consensus": "consensus"}
    audit_needs = "unseen domain"

    def measure(self, bench: Bench) -> Records:
        records = Records()
        for images in bench.image_sets(self.options):
            mine = bench.clean_logits(bench.subject, images).argmax(1).numpy()
            theirs = bench.clean_logits(bench.teacher, images).argmax(1).numpy()
            same = mine == theirs
            wrong = theirs != images.labels
            where = condition(domain=images.domain)
            primary = images.domain == self.options.primary_domain
            for metric, values in (
                ("consensus", same.astype(float)),
                ("consensus_teacher_wrong", np.where(wrong, same, np.nan)),
            ):
                statistic = Statistic(
                    condition=where,
                    metric=metric,
                    target="one",
                    primary=primary and metric == "consensus",
                )
                records.add(statistic, values, unit_ids=images.ids)
            rows = resamples(len(images), self.options.replicates, "consensus")
            right, teacher_right = mine == images.labels, ~wrong
            flawless = 1.0 if self.options.without_errors == "one" else np.nan
            records.add_set(
                Statistic(condition=where, metric="error_consistency", target="one"),
                float(error_consistency(right, teacher_right, flawless)),
                error_consistency(right[rows], teacher_right[rows], flawless),
                n=len(images),
            )
        return records
