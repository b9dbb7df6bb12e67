"""Colour adjustments with one factor per image; the arithmetic of torchvision's functions."""

from __future__ import annotations

import torch
from torch import Tensor


def _factor(values: Tensor) -> Tensor:
    return values[:, None, None, None]


def _blend(images: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    return (_factor(factor) * images + (1 - _factor(factor)) * other).clamp(0, 1)


def _grey(images: Tensor) -> Tensor:
    """Luma of ITU-R 601-2, (n, 1, h, w)."""
    weights = images.new_tensor([0.2989, 0.587, 0.114])[None, :, None, None]
    return (images * weights).sum(1, keepdim=True)


def brightness(images: Tensor, factor: Tensor) -> Tensor:
    return (images * _factor(factor)).clamp(0, 1)


def contrast(images: Tensor, factor: Tensor) -> Tensor:
    return _blend(images, _grey(images).mean((1, 2, 3), keepdim=True), factor)


def saturation(images: Tensor, factor: Tensor) -> Tensor:
    return _blend(images, _grey(images), factor)


def hue(images: Tensor, shift: Tensor) -> Tensor:
    """Rotate the hue by ``shift`` turns, (n,) in [-0.5, 0.5]."""
    r, g, b = images.unbind(1)
    value, top = images.max(1)
    chroma = value - images.amin(1)
    safe = torch.where(chroma == 0, torch.ones_like(chroma), chroma)
    sector = torch.stack([((g - b) / safe) % 6, (b - r) / safe + 2, (r - g) / safe + 4], 1)
    turn = sector.gather(1, top[:, None])[:, 0] / 6
    turn = (turn + shift[:, None, None]) % 1.0
    # https://en.wikipedia.org/wiki/HSL_and_HSV, "HSV to RGB alternative".
    k = (torch.stack([turn * 6 + 5, turn * 6 + 3, turn * 6 + 1], 1)) % 6
    ramp = torch.minimum(k, 4 - k).clamp(0, 1)
    return value[:, None] - chroma[:, None] * ramp


def jitter(images: Tensor, u: Tensor, strengths: tuple[float, float, float, float]) -> Tensor:
    """Brightness, contrast, saturation and hue changed at random, in this order.

    ``u`` uniform (n, 4); strengths (b, c, s, h): factors uniform in [max(0, 1−x), 1+x], hue
    shifts uniform in [−h, h] turns. torchvision's ColorJitter draws from the same ranges and
    shuffles the order.
    """
    for column, (adjust, x) in enumerate(
        zip((brightness, contrast, saturation), strengths[:3], strict=True)
    ):
        if x > 0:
            low = max(0.0, 1 - x)
            images = adjust(images, low + (1 + x - low) * u[:, column])
    if strengths[3] > 0:
        images = hue(images, strengths[3] * (2 * u[:, 3] - 1))
    return images
