"""Small pictures among a probe's records: what figures show and no table counts."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from kdpipe.probes.base import ProbeOptions
from kdpipe.probes.shared.records import Records, Statistic

SIDE = 64
"""Longest side of a picture of an image, in pixels."""


class PicturedOptions(ProbeOptions):
    pictured: int = Field(
        2, ge=0, description="Images per domain of which small pictures are kept for figures."
    )


def spread(n: int, wanted: int) -> np.ndarray:
    """Positions (at most ``wanted``,) of images, evenly spread over ``n``."""
    wanted = min(n, wanted)
    return ((np.arange(wanted) + 0.5) * n / max(wanted, 1)).astype(np.int64)


def thumbnail(image: Tensor) -> Tensor:
    """An image (3, h, w) in [0, 1], shrunk until no side is longer than ``SIDE``."""
    h, w = image.shape[-2:]
    if max(h, w) <= SIDE:
        return image
    size = [max(1, round(side * SIDE / max(h, w))) for side in (h, w)]
    return F.interpolate(image[None], size, mode="bilinear", antialias=True)[0].clamp(0, 1)


def keep(records: Records, where: str, **pictures: Any) -> None:
    """Add pictures, arrays in [0, 1] of any shape, under the condition ``where``.

    One record a number, in 256 steps from 0 to 1; the shapes stand in the notes, by condition and
    picture.
    """
    shapes = records.notes.setdefault("pictures", {}).setdefault(where, {})
    for metric, picture in pictures.items():
        levels = np.rint(255 * torch.as_tensor(picture).cpu().double().numpy()) / 255
        shapes[metric] = list(levels.shape)
        what = Statistic(condition=where, metric=metric, target="none", tables="none")
        records.add(what, levels.ravel(), unit="pixel")
