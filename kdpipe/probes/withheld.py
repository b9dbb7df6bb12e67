"""Withheld classes: does a student know a class that it never saw an image of?"""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field
from torch import Tensor

from kdpipe.base.errors import KdpipeError
from kdpipe.probes.base import Bench, ImageSet, Probe, ProbeOptions, condition, probes
from kdpipe.probes.shared.description import Metric, Panels
from kdpipe.probes.shared.records import Records, Statistic


class WithheldOptions(ProbeOptions):
    fit: Literal["train", "val"] = Field(
        "train", description="Images that the bias is fitted on, of all classes."
    )
    classes: list[str] = Field(
        min_length=1, description='Classes that students saw no image of, such as `["3"]`.'
    )


def best_bias(logits: np.ndarray, labels: np.ndarray, withheld: np.ndarray) -> float:
    """What to add to the logits of the ``withheld`` classes so that most images are right.

    ``logits`` (n, classes), ``labels`` (n,), ``withheld`` (classes,) booleans. Exact: the number of
    right answers is constant between the places where an image changes its side. Of several best
    intervals it is the one nearest to 0, and 0 if that is inside; else the middle, or a step of 1
    into an interval without end.
    """
    ours, others = (np.where(mask, logits, -np.inf) for mask in (withheld, ~withheld))
    turn = others.max(1) - ours.max(1)  # from this bias on the answer is a withheld class
    gain = (ours.argmax(1) == labels).astype(int) - (others.argmax(1) == labels)
    places, at = np.unique(turn, return_inverse=True)
    steps = np.bincount(at.ravel(), weights=gain, minlength=len(places))
    right = np.concatenate([[0.0], np.cumsum(steps)])
    edges = np.concatenate([[-np.inf], places, [np.inf]])
    found = []
    for k in np.flatnonzero(right == right.max()):
        low, high = edges[k], edges[k + 1]
        inside = low < 0 < high
        middle = low + 1 if np.isinf(high) else high - 1 if np.isinf(low) else (low + high) / 2
        found.append(0.0 if inside else float(middle))
    return min(found, key=abs)


@probes.register("withheld")
class Withheld(Probe):
    """Accuracy on classes that no image of a student's training showed (Hinton, Vinyals & Dean
    2015, Sec. 3: a student that never saw a 3 gets 86.8 % of the 3s right, and 98.6 % with a larger
    bias of that class).

    ``…_with_bias``: after one number was added to the logits of these classes, the one with most
    right answers on training images of all classes. (Hinton et al. chose it on test
    images.) It shows what a student knows of a class that it takes to be rare.
    """

    Options = WithheldOptions
    title = "Withheld classes"
    compared = "right answers on classes that students never saw"
    how = (
        "The share of right answers among the test images of classes that students saw no image "
        "of. With bias: after one number was added to the logits of these classes, which makes "
        "most of the set's training images right; a class that a student takes to be rare is then "
        "found again, if the student knows it at all."
    )
    metrics = {
        "accuracy": Metric("Accuracy"),
        "accuracy_with_bias": Metric("Accuracy with a fitted bias"),
        "bias": Metric("Bias, in logits", "", panel=False),
    }
    panels = Panels(
        title="Classes that students never saw",
        x="Domain and class of the test images",
        caption="Right answers on the classes that were withheld from students, and on all others; "
        "then the same after one number was added to the logits of the withheld classes, fitted on "
        "training images.",
    )
    chapter = "errors"
    place = 62
    audit_needs = "withheld classes"

    def measure(self, bench: Bench) -> Records:
        withheld = self._withheld(bench.classes)
        records = Records()
        named = "+".join(sorted(set(self.options.classes)))
        for images in bench.image_sets(self.options):
            train = bench.image_set(self.options, images.domain, self.options.fit)
            bias = best_bias(self._logits(bench, train), train.labels, withheld)
            logits = self._logits(bench, images)
            here = withheld[images.labels]
            if not here.any():
                raise KdpipeError(
                    f"Probe {self.name}: domain '{images.domain}' has no {self.options.split} "
                    f"image of the class {named}."
                )
            for metric, scores in (
                ("accuracy", logits),
                ("accuracy_with_bias", logits + bias * withheld),
            ):
                correct = scores.argmax(1) == images.labels
                for which, mask in ((named, here), ("others", ~here)):
                    primary = metric == "accuracy" and which == named
                    what = Statistic(
                        condition=condition(domain=images.domain, classes=which),
                        metric=metric,
                        primary=primary and images.domain == self.options.primary_domain,
                    )
                    records.add(what, correct[mask], unit_ids=images.ids[mask])
            where = condition(domain=images.domain, classes=named)
            fitted = Statistic(condition=where, metric="bias", tables="measurements")
            records.add_set(fitted, bias, n=len(train))
        return records

    def _withheld(self, classes: list[str]) -> np.ndarray:
        """Mask (classes,); raises KdpipeError for a class that the set lacks, or if all are."""
        for name in self.options.classes:
            if name not in classes:
                raise KdpipeError(
                    f"Probe {self.name}: there is no class '{name}'; the set has "
                    f"{', '.join(classes)}."
                )
        mask = np.isin(classes, self.options.classes)
        if mask.all():
            raise KdpipeError(f"Probe {self.name}: name some of the classes, not all of them.")
        return mask

    @staticmethod
    def _logits(bench: Bench, images: ImageSet) -> np.ndarray:
        found: Tensor = bench.clean_logits(bench.subject, images)
        return found.double().numpy()
