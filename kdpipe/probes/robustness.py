"""Robustness: how often is a network right under an attack on itself?"""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from kdpipe.base.seeding import stream
from kdpipe.data.images import as_float
from kdpipe.probes.base import BATCH, Bench, ImageSet, Probe, ProbeOptions, condition, probes
from kdpipe.probes.shared.description import Metric, Panels
from kdpipe.probes.shared.gradients import need_gradient
from kdpipe.probes.shared.ifgsm import ifgsm
from kdpipe.probes.shared.records import Records, Statistic
from kdpipe.training.attack import around


class RobustnessOptions(ProbeOptions):
    limit: int | None = Field(500, ge=1, description="Images per domain; null for all.")
    epsilons: list[Annotated[float, Field(gt=0, le=1)]] = Field(
        [8 / 255, 2 / 255, 4 / 255],
        min_length=1,
        description="Largest change of a pixel, images being in [0, 1]; the first is primary.",
    )
    steps: int = Field(20, ge=1, description="k.")
    step_ratio: float = Field(2.5, gt=0, description="Step size a = step_ratio·ε/k.")
    restarts: int = Field(3, ge=1, description="Random starts; an image survives all of them.")


def start(images: Tensor, ids: np.ndarray, epsilon: float, restart: int) -> Tensor:
    """A uniform draw from the ball of radius ε around each image, cut off at [0, 1].

    ``images`` (n, 3, h, w); the draw of an image depends on its id and the restart alone.
    """
    key = stream("attack start", restart)
    shape = tuple(images.shape[1:])
    drawn = [np.random.default_rng([key, k]).uniform(-1, 1, shape) for k in ids.tolist()]
    noise = torch.from_numpy(np.stack(drawn)).to(images)
    return around(images, noise, epsilon)


@probes.register("robustness")
class Robustness(Probe):
    """Accuracy under projected gradient descent on the network itself, L∞, with restarts (Madry et
    al. 2018, Sec. 2.1; a random start, then the steps of I-FGSM).

    An image counts as right where the network is right without an attack and after each of
    ``restarts`` attacks. Every network is attacked by its own gradient, so that networks do not see
    the same images; ``adversarial`` shows all the teacher's. PGD gives an upper bound of the
    robust accuracy: a network whose gradient is of no use looks robust and need not be.
    """

    Options = RobustnessOptions
    family = "attack"
    white_box = True
    title = "Robustness to attacks on itself"
    compared = "right answers under an attack on the network itself"
    how = (
        "Each network's test images are changed by its own gradient so that it errs, by at most ε "
        "in every pixel, from several random starts (PGD). Counted is how often it is right "
        "without an attack and after all of them."
    )
    metrics = {
        "robust_accuracy": Metric("Accuracy under attack"),
        "clean_accuracy": Metric("Accuracy, clean"),
    }
    panels = Panels(
        title="Accuracy under an attack on the network itself",
        x="Largest change of a pixel (ε, range 0–1)",
        caption="Share of test images that a network gets right, whatever an attack with its own "
        "gradient (PGD in the L∞ ball of radius ε, several random starts) does to them. It is an "
        "upper bound: a stronger attack may find more.",
    )
    chapter = "robustness"
    place = 92
    # Each image costs steps × restarts × ε passes there and back, and networks of others are large.
    audit_options = {"limit": 200, "epsilons": [8 / 255], "steps": 10, "restarts": 1}

    @classmethod
    def passes(cls, options: RobustnessOptions, n: int) -> int:
        """Once clean; forward and backward at every step, and once after each attack."""
        attacks = len(options.epsilons) * options.restarts
        return (1 + attacks * (3 * options.steps + 1)) * n

    def measure(self, bench: Bench) -> Records:
        o = self.options
        records = Records(
            notes={"steps": o.steps, "step_ratio": o.step_ratio, "restarts": o.restarts}
        )
        for images in bench.image_sets(o):
            need_gradient(bench.subject, as_float(images.pixels[:1]), "network")
            clean = bench.clean_logits(bench.subject, images).argmax(1).numpy() == images.labels
            what = Statistic(condition=condition(domain=images.domain), metric="clean_accuracy")
            records.add(what, clean, unit_ids=images.ids)
            for epsilon in o.epsilons:
                survived = clean & self._survived(bench, images, epsilon)
                rate = Statistic(
                    condition=condition(domain=images.domain, epsilon=f"{epsilon:.4g}"),
                    metric="robust_accuracy",
                    primary=epsilon == o.epsilons[0] and images.domain == o.primary_domain,
                )
                records.add(rate, survived, unit_ids=images.ids)
        return records

    def _survived(self, bench: Bench, images: ImageSet, epsilon: float) -> np.ndarray:
        """Whether the answer is right after every restart, (n,)."""
        o = self.options
        right = np.ones(len(images), dtype=bool)
        begin = 0
        for pixels in images.pixels.split(BATCH):
            rows = slice(begin, begin + len(pixels))
            begin += len(pixels)
            shown, told = as_float(pixels), torch.from_numpy(images.labels[rows])
            target = told.to(shown.device)
            for restart in range(o.restarts):
                first = start(shown, images.ids[rows], epsilon, restart)
                step = o.step_ratio * epsilon / o.steps
                attacked = ifgsm(bench.subject, shown, target, epsilon, step, o.steps, first)
                answers = bench.logits(bench.subject, attacked).argmax(1)
                right[rows] &= (answers == told).numpy()
        return right
