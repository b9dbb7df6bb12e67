"""Copied errors: are more of the teacher's wrong answers taken over than of its right ones?"""

from __future__ import annotations

import numpy as np
from pydantic import Field

from kdpipe.probes.base import Bench, Probe, ProbeOptions, condition, probes, resamples
from kdpipe.probes.shared.description import Metric, Panels
from kdpipe.probes.shared.records import Records, Statistic


class CopiedErrorsOptions(ProbeOptions):
    min_gap: float = Field(
        0.02,
        ge=0,
        description="Smallest gap that counts, as a difference of two shares of shared answers.",
    )
    replicates: int = Field(
        200, ge=0, description="Bootstrap resamples of the teacher's wrong and right answers."
    )


def asymmetry(wrong: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Share of the teacher's wrong answers that a network gives too, minus that of its right ones.

    ``wrong`` (…, n_w) and ``right`` (…, n_r): whether the network gives the teacher's answer, on
    the images that the teacher gets wrong and on those that it gets right. Returns (…,) in
    [−1, 1]; NaN where there is no image of one kind.
    """
    if not wrong.shape[-1] or not right.shape[-1]:
        return np.full(wrong.shape[:-1], np.nan)
    return np.asarray(wrong.mean(-1) - right.mean(-1))


@probes.register("copied_errors")
class CopiedErrors(Probe):
    """The asymmetry that Mason-Williams et al. 2025 (arXiv 2510.12615) report of distillation.

    Every network shares answers with the teacher, more of its right ones (which are also the
    labels) than of its wrong ones. Independent students say how many without distillation. What a
    method adds to the share of wrong answers, minus what it adds to that of right ones, is the
    ``diff`` of ``wrong_minus_right``: above 0, errors are copied more than right answers. Its
    target is 0, which a student has that gives all the teacher's answers. The two shares stand
    beside it, of the teacher's wrong and right answers and of all images, and
    ``same_wrong_label``: where both are wrong, whether they are so in the same way.
    """

    Options = CopiedErrorsOptions
    relational = True
    title = "Copied errors"
    compared = "teacher's wrong answers, beyond its right ones"
    how = (
        "The share of the teacher's wrong answers that a student gives too, minus the share of the "
        "teacher's right answers that it gives too. A distilled student that is above independent "
        "ones took over more of the errors than of the right answers."
    )
    metrics = {
        "wrong_minus_right": Metric("Shared wrong minus right", level=0.0),
        "shared_wrong": Metric("Teacher's wrong answers shared"),
        "shared_right": Metric("Teacher's right answers shared"),
        "same_wrong_label": Metric("Same label where both are wrong"),
        "both_same_wrong": Metric("Same wrong answer, of all images", panel=False),
        "both_right": Metric("Both right, of all images", panel=False),
    }
    panels = Panels(
        title="Which of the teacher's answers a student shares",
        x="Domain of the test images",
        caption="First panel: the share of the teacher's wrong answers that a student gives too, "
        "minus the share of its right ones; at the dotted line both are the same. The two shares "
        "follow, and how often two networks that are both wrong give the same label.",
    )
    chapter = "errors"
    place = 104

    def measure(self, bench: Bench) -> Records:
        records = Records()
        for images in bench.image_sets(self.options):
            mine = bench.clean_logits(bench.subject, images).argmax(1).numpy()
            theirs = bench.clean_logits(bench.teacher, images).argmax(1).numpy()
            same, wrong = mine == theirs, theirs != images.labels
            where = condition(domain=images.domain)
            records.notes[where] = {"teacher_wrong": int(wrong.sum())}
            # The teacher's wrong and right images are resampled apart: how many there are of each
            # belongs to the teacher and the images, and to no student.
            drawn = [
                kind[resamples(len(kind), self.options.replicates, f"teacher {name}")]
                for name, kind in (("wrong", same[wrong]), ("right", same[~wrong]))
                if len(kind)
            ]
            records.add_set(
                Statistic(
                    condition=where,
                    metric="wrong_minus_right",
                    target="zero",
                    primary=images.domain == self.options.primary_domain,
                    missing="the teacher is right on every image, or on none",
                ),
                float(asymmetry(same[wrong], same[~wrong])),
                asymmetry(*drawn) if len(drawn) == 2 else (),
                n=len(images),
            )
            for metric, values, target in (
                ("shared_wrong", np.where(wrong, same, np.nan), "one"),
                ("shared_right", np.where(wrong, np.nan, same), "one"),
                (
                    "same_wrong_label",
                    np.where(wrong & (mine != images.labels), same, np.nan),
                    "one",
                ),
                ("both_same_wrong", same & wrong, "none"),
                ("both_right", same & ~wrong, "none"),
            ):
                statistic = Statistic(condition=where, metric=metric, target=target)
                records.add(statistic, values, unit_ids=images.ids)
        return records
