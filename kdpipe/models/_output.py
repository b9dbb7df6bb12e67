"""What a network puts out: logits, or probabilities that logits can be had from."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

OutputKind = Literal["logits", "softmax", "log_softmax", "sigmoid"]

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
