"""Outputs of networks: logits, or probabilities that are converted to logits."""

from __future__ import annotations

import torch
from torch import Tensor

from kdpipe.models.weights.options import OutputKind as OutputKind

SUM_TOLERANCE = 2e-3
"""Largest deviation of a sum of probabilities from one, as from ten numbers in half precision."""


def output_kind(outputs: Tensor) -> OutputKind:
    """What ``outputs`` (n, classes) of n different images look like.

    ``softmax``: every row sums to one; ``log_softmax``: its exponentials do. ``sigmoid``: all lie
    between 0 and 1, some of them near each end, because logits of a few images may lie in (0, 1) by
    chance.
    """
    values = outputs.detach().double()
    low, high = float(values.min()), float(values.max())
    if low >= 0 and high <= 1 + SUM_TOLERANCE:
        if bool(((values.sum(1) - 1).abs() < SUM_TOLERANCE).all()):
            return "softmax"
        if low > 0 and low < 0.1 and 0.9 < high <= 1:
            return "sigmoid"
    if high <= SUM_TOLERANCE and bool((values.logsumexp(1).abs() < SUM_TOLERANCE).all()):
        return "log_softmax"
    return "logits"


def as_logits(outputs: Tensor, kind: OutputKind) -> Tensor:
    """Convert outputs of a network to logits (n, classes).

    The logarithm of a probability equals the logit up to a constant for each image, which softmax
    removes. The log-odds of a sigmoid are its input. Probabilities that were rounded to 0 or 1
    become the nearest number in single precision.
    """
    if kind == "softmax":
        return outputs.float().clamp_min(torch.finfo(torch.float32).tiny).log()
    if kind == "sigmoid":
        return torch.logit(outputs.float(), eps=2**-24)
    return outputs
