"""Cuts a window out of every image of a batch at once."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def resample(
    images: Tensor,
    top: Tensor,
    left: Tensor,
    height: Tensor,
    width: Tensor,
    size: tuple[int, int] | None = None,
) -> Tensor:
    """Cut one window per image and resize it bilinearly to ``size``, or to the images' own.

    Windows are fractions of the image, (n,) each. Pixel centres as in
    ``torchvision.transforms.functional.resized_crop`` without antialiasing.
    """
    n, _, h, w = images.shape
    rows, columns = size or (h, w)
    ys = (torch.arange(rows, device=images.device) + 0.5) / rows
    xs = (torch.arange(columns, device=images.device) + 0.5) / columns
    y = top[:, None] + height[:, None] * ys
    x = left[:, None] + width[:, None] * xs
    # A crop is resized by its own pixels: never blend in what lies just outside of the window.
    y = y.clamp((top + 0.5 / h)[:, None], (top + height - 0.5 / h)[:, None])
    x = x.clamp((left + 0.5 / w)[:, None], (left + width - 0.5 / w)[:, None])
    grid = torch.stack(
        [
            (2 * x - 1)[:, None, :].expand(n, rows, columns),
            (2 * y - 1)[:, :, None].expand(n, rows, columns),
        ],
        dim=-1,
    )
    grid = grid.to(images.dtype)
    return F.grid_sample(images, grid, "bilinear", padding_mode="border", align_corners=False)


def windows(images: Tensor, top: Tensor, left: Tensor, size: tuple[int, int]) -> Tensor:
    """Cut a window of ``size`` pixels per image at integer offsets ``top``, ``left`` (n,)."""
    n = images.shape[0]
    rows = top[:, None] + torch.arange(size[0], device=images.device)
    columns = left[:, None] + torch.arange(size[1], device=images.device)
    channels_last = images.permute(0, 2, 3, 1)
    which = torch.arange(n, device=images.device)[:, None, None]
    return channels_last[which, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def random_window(
    u: Tensor, scale: tuple[float, float], ratio: tuple[float, float], shape: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Random windows in whole pixels, as fractions (top, left, height, width), (n,) each.

    ``u`` uniform (n, 4). The area is uniform in ``scale`` (fraction of the image), the aspect
    ratio log-uniform in ``ratio``, as in torchvision's RandomResizedCrop; a side that would
    exceed the image is cut to it, where torchvision draws again.
    """
    h, w = shape
    area = (scale[0] + (scale[1] - scale[0]) * u[:, 0]) * h * w
    low, high = (math.log(side) for side in ratio)
    aspect = torch.exp(low + (high - low) * u[:, 1])
    height = torch.round(torch.sqrt(area / aspect)).clamp(1, h)
    width = torch.round(torch.sqrt(area * aspect)).clamp(1, w)
    top = torch.floor(u[:, 2] * (h - height + 1))
    left = torch.floor(u[:, 3] * (w - width + 1))
    return top / h, left / w, height / h, width / w
