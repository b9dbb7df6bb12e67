"""Calibration: does confidence say how often the network is right?"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from kdpipe.probes.base import Bench, ImageSet, Probe, ProbeOptions, condition, probes, resamples
from kdpipe.probes.shared.description import Metric, Panels
from kdpipe.probes.shared.records import Records, Statistic

OF_SHARES = ProbeOptions.model_fields["min_gap"].default
"""Smallest gap of accuracy and confidence, which are no calibration errors."""
IN_NATS = 0.05
"""Smallest gap of a log-likelihood, as of a divergence in ``fidelity``."""


class CalibrationOptions(ProbeOptions):
    # A network counts as calibrated with an error of about 0.01 (Guo et al. 2017, Table 1, after
    # temperature scaling): a gap of that size is the difference between calibrated and not.
    min_gap: float = Field(
        0.01, ge=0, description="Smallest gap that counts, as a calibration error in [0, 1]."
    )
    bins: int = Field(15, ge=1, description="Bins of equal width over the confidence.")
    replicates: int = Field(200, ge=0, description="Bootstrap resamples of the images.")


def expected_calibration_error(
    confidence: np.ndarray, correct: np.ndarray, bins: int
) -> float | np.ndarray:
    """Σ_b n_b/n · |accuracy_b − confidence_b| over bins of equal width, left-open.

    Arrays (…, n) with confidence in [0, 1]; returns (…,) in [0, 1]. Guo et al. 2017, Eq. 3.
    """
    which = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gap = correct.astype(np.float64) - confidence
    total = np.zeros(confidence.shape[:-1])
    for b in range(bins):
        total += np.abs(np.where(which == b, gap, 0.0).sum(-1))
    return total / confidence.shape[-1]


def adaptive_calibration_error(
    confidence: np.ndarray, correct: np.ndarray, bins: int
) -> float | np.ndarray:
    """Σ_b n_b/n · |accuracy_b − confidence_b| over bins that hold equally many images.

    Arrays (…, n) with confidence in [0, 1]; returns (…,) in [0, 1]. The bins of Nixon et al. 2019
    (arXiv 1904.01685, Sec. 3.3), over the confidence of the answer. Images are sorted by
    confidence (of equal ones, wrong answers first), and the first n mod ``bins`` bins hold one
    more. With fewer images than bins, each is a bin.
    """
    gap = correct.astype(np.float64) - confidence
    order = np.lexsort((correct, confidence), axis=-1)
    gap = np.take_along_axis(gap, order, axis=-1)
    parts = np.array_split(gap, min(bins, gap.shape[-1]), axis=-1)
    total = np.sum([np.abs(part.sum(-1)) for part in parts], axis=0)
    return np.asarray(total / gap.shape[-1])


@probes.register("calibration")
class Calibration(Probe):
    """Expected calibration error, and mean confidence minus accuracy per image.

    The error depends on the number of bins, which its condition therefore states. Beside it: the
    same over bins of equally many images (``ece_adaptive``), and two proper scores per image,
    which also depend on how often the network is right: the negative log-likelihood of the label
    (``nll``, in nats) and Brier's score Σ_k (p_k − y_k)² in [0, 2] (Brier 1950).
    """

    Options = CalibrationOptions
    title = "Calibration"
    compared = "stated confidence against accuracy"
    how = (
        "Test images are sorted into bins by the network's confidence; the error is the distance "
        "of confidence and accuracy, averaged over the bins."
    )
    metrics = {
        "ece": Metric("Calibration error"),
        "confidence_gap": Metric("Confidence − accuracy", level=0.0),
        "confidence": Metric("Confidence", "", panel=False),
        "accuracy": Metric("Accuracy", panel=False),
        "ece_adaptive": Metric("Calibration error, equal bins", panel=False),
        "nll": Metric("Negative log-likelihood", "nats"),
        "brier": Metric("Brier score", "0 to 2"),
    }
    panels = Panels(
        title="Calibration",
        x="Domain of the test images",
        caption="Expected calibration error: the distance between stated confidence and accuracy, "
        "averaged over bins of confidence (0 = calibrated). The second panel is mean confidence "
        "minus accuracy: above the dotted line a network is too sure of itself, below it too "
        "modest. Then two scores that count both calibration and right answers (lower is better).",
    )
    chapter = "errors"
    place = 70

    def measure(self, bench: Bench) -> Records:
        o = self.options
        records = Records(notes={"bins": o.bins})
        for images in bench.image_sets(o):
            logits = bench.clean_logits(bench.subject, images).double()
            probabilities = logits.softmax(1)
            confidence, predicted = (t.numpy() for t in probabilities.max(1))
            correct = predicted == images.labels
            rows = resamples(len(images), o.replicates, "calibration")
            where = condition(domain=images.domain)
            ece = Statistic(
                condition=condition(domain=images.domain, bins=o.bins),
                metric="ece",
                primary=images.domain == o.primary_domain,
            )
            records.add_set(
                ece,
                float(expected_calibration_error(confidence, correct, o.bins)),
                expected_calibration_error(confidence[rows], correct[rows], o.bins),
                n=len(images),
            )
            for metric, values in (
                ("confidence_gap", confidence - correct),
                ("confidence", confidence),
                ("accuracy", correct),
            ):
                statistic = Statistic(condition=where, metric=metric, min_gap=OF_SHARES)
                records.add(statistic, values, unit_ids=images.ids)
            self._scores(records, images, logits, confidence, correct, rows)
        return records

    def _scores(
        self,
        records: Records,
        images: ImageSet,
        logits: Tensor,
        confidence: np.ndarray,
        correct: np.ndarray,
        rows: np.ndarray,
    ) -> None:
        """Calibration error over bins of equally many images, and the two proper scores."""
        bins = self.options.bins
        records.add_set(
            Statistic(condition=condition(domain=images.domain, bins=bins), metric="ece_adaptive"),
            float(adaptive_calibration_error(confidence, correct, bins)),
            adaptive_calibration_error(confidence[rows], correct[rows], bins),
            n=len(images),
        )
        labels = torch.from_numpy(np.asarray(images.labels, dtype=np.int64))
        truth = F.one_hot(labels, logits.shape[1])
        for metric, values, min_gap in (
            ("nll", F.cross_entropy(logits, labels, reduction="none"), IN_NATS),
            ("brier", (logits.softmax(1) - truth).square().sum(1), OF_SHARES),
        ):
            statistic = Statistic(
                condition=condition(domain=images.domain), metric=metric, min_gap=min_gap
            )
            records.add(statistic, values.numpy(), unit_ids=images.ids)
