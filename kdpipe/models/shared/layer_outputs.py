"""What modules of a network give: tensors in containers, tokens that are places."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

PREFIX = 16
"""Most tokens before the image's tokens: a class token, registers."""


def first_tensor(output: Any) -> Tensor | None:
    """What a module gave, or the first tensor of several things that it gave."""
    if isinstance(output, dict):
        output = list(output.values())
    if isinstance(output, list | tuple):
        return next((found for part in output if (found := first_tensor(part)) is not None), None)
    return output if isinstance(output, Tensor) else None


def square(tokens: int, prefix: int | None = None) -> tuple[int, int]:
    """Height of the grid that ``tokens`` fill, and how many stand in front of it.

    ``prefix``: how many stand there in this network, in layers that have any; None for what the
    largest square leaves over. (0, 0) where they fill no square.
    """
    for known in () if prefix is None else (prefix, 0):
        side = math.isqrt(max(0, tokens - known))
        if side and side**2 == tokens - known:
            return side, known
    side = math.isqrt(tokens)
    return (side, tokens - side**2) if tokens - side**2 <= PREFIX else (0, 0)
