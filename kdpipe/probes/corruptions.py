"""Corruptions: is a network right on noisy, blurred and compressed images?"""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from kdpipe.data.corruptions import CORRUPTIONS, SEVERITIES, Kind, Scale, corrupted
from kdpipe.data.images import as_float
from kdpipe.probes.base import BATCH, Bench, ImageSet, Probe, ProbeOptions, condition, probes
from kdpipe.probes.shared.description import Metric, Panels
from kdpipe.probes.shared.records import Records, Statistic

# Gaussian blur is among the extra corruptions of the paper, for choosing settings.
PUBLISHED: list[Kind] = [kind for kind in CORRUPTIONS if kind != "gaussian_blur"]


class CorruptionsOptions(ProbeOptions):
    limit: int | None = Field(1000, ge=1, description="Images per domain; null for all.")
    corruptions: list[Kind] = Field(
        PUBLISHED, min_length=1, description="What is done to the images."
    )
    severities: list[Annotated[int, Field(ge=1, le=5)]] = Field(
        list(SEVERITIES), min_length=1, description="How strong it is, from 1 to 5."
    )
    constants: Scale = Field(
        "cifar", description="Strengths of CIFAR-10-C (32 pixels) or of ImageNet-C (224 pixels)."
    )


@probes.register("corruptions")
class Corruptions(Probe):
    """Accuracy under the corruptions of Hendrycks & Dietterich 2019 (arXiv 1903.12261), with their
    published constants.

    ``mean_accuracy``: mean over corruptions and severities, image by image; 1 minus it is the mean
    corruption error that is reported on CIFAR-10-C. The mCE of ImageNet-C divides the error of each
    corruption by AlexNet's first, which is not done here.
    """

    Options = CorruptionsOptions
    title = "Accuracy under corruptions"
    compared = "right answers on corrupted images"
    how = (
        "Test images are changed by noise, blur, brightness, contrast, pixelation and JPEG "
        "compression, each in several severities; counted are right answers, on average over all "
        "of them. The corrupted images are the same for every network."
    )
    metrics = {
        "mean_accuracy": Metric("Accuracy, mean of corruptions"),
        "accuracy": Metric("Accuracy by corruption"),
        "clean_accuracy": Metric("Accuracy, clean", panel=False),
    }
    panels = Panels(
        title="Accuracy under corruptions",
        x="Domain, corruption and severity",
        caption="Share of right answers on test images with a corruption of Hendrycks & Dietterich "
        "(2019): first the mean of all, then each by itself.",
    )
    chapter = "robustness"
    place = 45
    # Networks of others are large: 21 passes an image in place of 35.
    audit_options = {"limit": 200, "severities": [1, 3, 5]}

    @classmethod
    def passes(cls, options: CorruptionsOptions, n: int) -> int:
        return (1 + len(options.corruptions) * len(options.severities)) * n

    def measure(self, bench: Bench) -> Records:
        o = self.options
        records = Records()
        for images in bench.image_sets(o):
            correct = []
            for kind in o.corruptions:
                for severity in o.severities:
                    answers = self._answers(bench, images, kind, severity)
                    correct.append(answers == images.labels)
                    where = condition(domain=images.domain, corruption=kind, severity=severity)
                    what = Statistic(condition=where, metric="accuracy")
                    records.add(what, correct[-1], unit_ids=images.ids)
            where = condition(domain=images.domain)
            primary = images.domain == o.primary_domain
            mean = Statistic(condition=where, metric="mean_accuracy", primary=primary)
            records.add(mean, np.mean(correct, axis=0), unit_ids=images.ids)
            clean = bench.clean_logits(bench.subject, images).argmax(1).numpy()
            what = Statistic(condition=where, metric="clean_accuracy")
            records.add(what, clean == images.labels, unit_ids=images.ids)
        return records

    def _answers(self, bench: Bench, images: ImageSet, kind: Kind, severity: int) -> np.ndarray:
        """Classes (n,) of the corrupted images, a batch at a time."""
        answers: list[Tensor] = []
        start = 0
        for pixels in images.pixels.split(BATCH):
            ids = images.ids[start : start + len(pixels)]
            start += len(pixels)
            shown = pixels.permute(0, 2, 3, 1).cpu().numpy()
            changed = corrupted(shown, ids, kind, severity, self.options.constants)
            made = torch.from_numpy(changed).permute(0, 3, 1, 2).to(pixels.device)
            answers.append(bench.logits(bench.subject, as_float(made)).argmax(1))
        return torch.cat(answers).numpy()
