"""Between stored and computed images."""

from __future__ import annotations

import torch
from torch import Tensor


def as_float(pixels: Tensor) -> Tensor:
    """uint8 (n, c, h, w) to float32 in [0, 1], channels last in memory."""
    return pixels.to(torch.float32).div_(255).contiguous(memory_format=torch.channels_last)
