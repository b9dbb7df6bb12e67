"""Iterative FGSM and the calibration of its strength."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from kdpipe.models.base import Network
from kdpipe.training.attack import ascend

ATTACK_BATCH = 128
BISECTIONS = 30


def ifgsm(
    network: Network,
    images: Tensor,
    labels: Tensor,
    epsilon: float,
    step: float,
    steps: int,
    start: Tensor | None = None,
) -> Tensor:
    """I_{t+1} = clip_{I,ε}(I_t + a·sign ∇J(I_t, y)) (Kurakin et al. 2017, Eq. 2).

    Images (n, 3, h, w) in [0, 1] and labels (n,) on the network's device; the result stays in
    [0, 1] and within ε of the images in every pixel. A pixel without a gradient stays as it is.
    With ``start`` (n, 3, h, w), points in the ball to begin from, it is projected gradient descent.
    The network has to be in evaluation mode, else images of a batch would depend on each other.
    """
    parts = []
    first = images if start is None else start
    batches = (x.split(ATTACK_BATCH) for x in (images, labels, first))
    for clean, target, begin in zip(*batches, strict=True):

        def wrong(changed: Tensor, target: Tensor = target) -> Tensor:
            # The sum, so that an image's gradient does not depend on its batch.
            return F.cross_entropy(network(changed), target, reduction="sum")

        parts.append(ascend(wrong, clean, epsilon, step, steps, begin))
    return torch.cat(parts)


def fooling_rate(
    network: Network, images: Tensor, labels: Tensor, epsilon: float, step: float, steps: int
) -> float:
    """Share of images whose prediction changes under the attack on ``network`` itself."""
    changed = 0
    for clean, target in zip(images.split(ATTACK_BATCH), labels.split(ATTACK_BATCH), strict=True):
        adversarial = ifgsm(network, clean, target, epsilon, step, steps)
        with torch.no_grad():
            changed += int((network(clean).argmax(1) != network(adversarial).argmax(1)).sum())
    return changed / len(images)


def calibrate(
    network: Network,
    images: Tensor,
    labels: Tensor,
    *,
    target: float,
    tolerance: float,
    epsilon_max: float,
    step_ratio: float,
    steps: int,
) -> dict[str, Any]:
    """Bisect ε to the target fooling rate, at step = step_ratio·ε/steps.

    Returns epsilon, step, steps, fooling_rate and ``reached``: whether the rate is within the
    tolerance. Where even ``epsilon_max`` fools too few, that is the ε, and ``reached`` is false.
    """

    def rate(epsilon: float) -> float:
        return fooling_rate(network, images, labels, epsilon, step_ratio * epsilon / steps, steps)

    low, high = 0.0, epsilon_max
    best, best_rate = high, rate(high)
    if best_rate > target + tolerance:
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            current = rate(middle)
            if abs(current - target) < abs(best_rate - target):
                best, best_rate = middle, current
            if abs(current - target) <= tolerance / 2:
                break
            low, high = (middle, high) if current < target else (low, middle)
    return {
        "epsilon": best,
        "step": step_ratio * best / steps,
        "steps": steps,
        "fooling_rate": best_rate,
        "target": target,
        "reached": bool(np.abs(best_rate - target) <= tolerance),
        "n": len(images),
    }
