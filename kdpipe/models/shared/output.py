"""What a network puts out: logits, or probabilities that logits can be had from."""

from __future__ import annotations

import torch
from torch import Tensor

from kdpipe.models.weights.options import OutputKind as OutputKind

SUM_TOLERANCE = 2e-3
"""Rows of probabilities sum to one up to this: half precision rounds ten of them so far."""


def output_kind(outputs: Tensor) -> OutputKind:
    """What ``outputs`` (n, classes) of n different images look like.

    ``softmax``: every row sums to one; ``log_softmax``: its exponentials do. ``sigmoid``: all lie
    between 0 and 1, near both ends. Scores of a few images may lie in (0, 1) by accident, hence
    the ends.
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
    """Logits (n, classes) of what a network gives.

    The logarithm of probabilities is a logit for each class but for a constant that all classes
    of an image share, which softmax takes out again: nothing is lost. Of a sigmoid it is the score
    that went into it, the log-odds. Probabilities that were rounded to 0 or 1 are taken as the
    nearest number in single precision.
    """
    if kind == "softmax":
        return outputs.float().clamp_min(torch.finfo(torch.float32).tiny).log()
    if kind == "sigmoid":
        return torch.logit(outputs.float(), eps=2**-24)
    return outputs
