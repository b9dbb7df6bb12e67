"""Features of two networks brought to one form: tokens to maps, resolutions, channels."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdpipe.base.errors import KdpipeError
from kdpipe.distill.base import full_precision

Shape = tuple[int, ...]
PREFIX = 16
"""Most tokens in front of those of the image: a class token, registers."""


def by(shape: Shape) -> str:
    """A shape in words: ``64×8×8``."""
    return "×".join(map(str, shape))


def common(own: Shape, theirs: Shape) -> tuple[Shape, Shape] | None:
    """The forms in which outputs of two layers, of student and teacher, can be compared.

    Shapes without the batch: maps (channels, height, width), vectors (width,), tokens (t, width).
    Maps and vectors stay as they are. Tokens become maps: of the other's grid if they fill it, else
    of the largest square, in both cases without up to 16 tokens in front; as many tokens on both
    sides that fill no square become maps of height t and width 1. None for what has no common form,
    as a map and a vector.
    """
    found = _maps(own, theirs), _maps(theirs, own)
    if len(own) == len(theirs) == 2 and own[0] == theirs[0] and None in found:
        return (own[1], own[0], 1), (theirs[1], theirs[0], 1)
    first, second = found
    if first is None or second is None or len(first) != len(second):
        return None
    return first, second


def _maps(shape: Shape, other: Shape) -> Shape | None:
    if len(shape) in (1, 3):
        return shape
    if len(shape) != 2:
        return None
    tokens, width = shape
    side = math.isqrt(tokens)
    grids = [other[1:]] if len(other) == 3 else []
    for height, width_of in (*grids, (side, side)):
        if height and 0 <= tokens - height * width_of <= PREFIX:
            return width, height, width_of
    return None


def as_maps(x: Tensor, form: Shape) -> Tensor:
    """``x`` (n, …) in the form that :func:`common` gave: tokens (n, t, width) become maps
    (n, width, height, width of the grid), maps and vectors stay."""
    if x.dim() != 3:
        return x
    _, height, width = form
    image = x[:, x.shape[1] - height * width :]
    return image.transpose(1, 2).unflatten(2, (height, width))


def pooled(own: Tensor, theirs: Tensor, largest: bool = False) -> tuple[Tensor, Tensor]:
    """Two maps (n, channels, height, width) at the smaller of their heights and widths, in at
    least single precision; see :func:`pool`."""
    height, width = (min(a, b) for a, b in zip(own.shape[2:], theirs.shape[2:], strict=True))
    return pool(own, height, width, largest), pool(theirs, height, width, largest)


def pool(x: Tensor, height: int, width: int, largest: bool = False) -> Tensor:
    """Maps (n, channels, H, W) at another size, H and W at most, in at least single precision.

    Adaptive average pooling, or maximum pooling with ``largest``: window i of h covers the places
    from ⌊i·H/h⌋ up to ⌈(i + 1)·H/h⌉. Not by torch's adaptive pooling where that has another
    gradient each time on a GPU.
    """
    x, (rows, columns) = full_precision(x), x.shape[2:]
    if (rows, columns) == (height, width):
        return x
    if rows % height == columns % width == 0:
        size = rows // height, columns // width
        return F.max_pool2d(x, size) if largest else F.avg_pool2d(x, size)
    if largest:
        return F.adaptive_max_pool2d(x, (height, width))
    with torch.autocast(x.device.type, enabled=False):
        return _means(rows, height, x) @ x @ _means(columns, width, x).T


def _means(old: int, new: int, like: Tensor) -> Tensor:
    """Matrix (new, old) that averages over windows."""
    at = torch.arange(old, device=like.device)
    window = torch.arange(new, device=like.device)[:, None]
    inside = (at >= window * old // new) & (at < -(-(window + 1) * old // new))
    return inside.to(like.dtype) / inside.sum(1, keepdim=True)


class Connector(nn.Module):
    """Learned map from the form of the student's features to that of the teacher's.

    Feature maps: 1×1 convolution, after bilinear resizing where the resolutions differ; vectors:
    a linear map. Neither batch normalisation nor ReLU follows it, as in ``ConvReg`` of
    RepDistiller, whose convolution is also larger or transposed where the resolutions differ.

    ``shape`` and ``target`` of the layers' outputs, without the batch, also of tokens (see
    :func:`common`). Raises KdpipeError, as ``who``, where they have no common form.
    """

    def __init__(self, shape: Shape, target: Shape, who: str) -> None:
        super().__init__()
        forms = common(shape, target)
        if forms is None:
            raise KdpipeError(
                f"{who}: the student's layer has shape {by(shape)} and the teacher's {by(target)}; "
                f"choose two feature maps or two vectors with layer and teacher_layer."
            )
        self.own, self.theirs = forms
        self.map: nn.Module = (
            nn.Linear(self.own[0], self.theirs[0])
            if len(self.theirs) == 1
            else nn.Conv2d(self.own[0], self.theirs[0], kernel_size=1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """The student's output (n, *shape) in the teacher's form."""
        x, size = as_maps(x, self.own), tuple(self.theirs[1:])
        if size and tuple(x.shape[2:]) != size:
            x = F.interpolate(x, size, mode="bilinear", align_corners=False)
        return self.map(x)

    def target(self, x: Tensor) -> Tensor:
        """The teacher's output (n, *target) in the same form."""
        return as_maps(x, self.theirs)
