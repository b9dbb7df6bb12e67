"""Conversions between stored and computed images."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def as_float(pixels: Tensor) -> Tensor:
    """uint8 (n, c, h, w) to float32 in [0, 1], channels last in memory."""
    return pixels.to(torch.float32).div_(255).contiguous(memory_format=torch.channels_last)


def centre(images: Any, size: int) -> Any:
    """The central ``size`` × ``size`` window of (…, h, w), a view; a smaller image as it is."""
    h, w = images.shape[-2:]
    top, left = max(0, (h - size) // 2), max(0, (w - size) // 2)
    return images[..., top : top + size, left : left + size]
