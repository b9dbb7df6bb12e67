"""What a library's preprocessing does to images, measured on a few drawn ones.

Libraries describe their preprocessing in many keys (``crop_pct``, ``shortest_edge``,
``rescale_offset``, ``do_flip_channel_order``, …) whose meaning depends on the class that reads
them. The function itself is always there, and a few images show what it does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from kdpipe.base.errors import KdpipeError, last_line

WIDTH, HEIGHT, SQUARE = 640, 480, 512
"""Of the drawn images, in pixels."""
EXACT = 1e-5
"""A measured mean or deviation this near to a stated one is that one."""
CLOSE = 0.01
"""Relative difference of two lengths that is none, beside one pixel of the smaller."""

Process = Callable[[Image.Image], Tensor]
"""From an RGB image to what a network sees, (3, height, width)."""


@dataclass(frozen=True)
class Preprocessing:
    """How images become the input of a network, in kdpipe's words."""

    mean: list[float]
    """Per channel in the network's order, for images in [0, 1]."""
    std: list[float]
    bgr: bool
    """Whether the network's channels are blue, green, red."""
    size: int | None
    """Height and width of what the network sees; None where images keep their size."""
    resize: int | None
    """What the shorter side (``crop``) or both sides (``stretch``) are brought to before the middle
    is cut out; None where images keep their size."""
    fit: Literal["crop", "stretch"]
    other: tuple[str, ...] = ()
    """In words, what it does that kdpipe does in another way."""

    @property
    def words(self) -> str:
        """What is done to an image, for a person."""
        if self.size is None or self.resize is None:
            return "images as large as they are"
        how = "both sides" if self.fit == "stretch" else "shorter side"
        cut = f", middle of {self.size} pixels" if self.resize > self.size else ""
        return f"{how} to {self.resize} pixels{cut}"


def measured(
    process: Process,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    resampling: str = "bilinear",
) -> Preprocessing:
    """What ``process`` does. ``mean``, ``std``: stated ones, which are taken where they are what is
    measured; ``resampling``: the name of its interpolation.

    Raises KdpipeError when it fails, or its output is no normalised image.
    """
    means, stds, bgr = _normalisation(process)
    stated = [list(values) * (3 // len(values)) for values in (mean or (), std or ()) if values]
    if len(stated) == 2 and np.allclose([means, stds], stated, rtol=EXACT, atol=EXACT):
        means, stds = stated
    size, resize, fit, other = _geometry(process, means, stds, bgr)
    if size is not None and resampling != "bilinear":
        other = (*other, f"it resizes by {resampling} interpolation, kdpipe by bilinear")
    return Preprocessing(means, stds, bgr, size, resize, fit, other)


def _processed(process: Process, pixels: np.ndarray) -> Tensor:
    """What a network sees of ``pixels``, uint8 (h, w, 3)."""
    try:
        found = torch.as_tensor(process(Image.fromarray(pixels))).double()
    except Exception as error:  # whatever a library raises
        raise KdpipeError(f"its preprocessing fails ({last_line(error)})") from None
    if found.dim() != 3 or len(found) != 3:
        raise KdpipeError(
            f"its preprocessing gives {tuple(found.shape)} for an image, and not three channels"
        )
    return found


def _normalisation(process: Process) -> tuple[list[float], list[float], bool]:
    """Mean and deviation of each of the network's channels, and whether they are blue, green, red.

    Preprocessing is affine in the pixels: a black image shows -mean / std, one of a pure colour
    by how much 1 / std more the channel of this colour is.
    """
    plain = np.zeros((SQUARE, SQUARE, 3), dtype=np.uint8)
    black = _middle(_processed(process, plain))
    answers = []
    for channel in range(3):
        pure = plain.copy()
        pure[..., channel] = 255
        answers.append(_middle(_processed(process, pure)) - black)
    response = torch.stack(answers, 1).numpy()  # (channel of the network, channel of the image)
    for bgr in (False, True):
        turned = response[:, ::-1] if bgr else response
        scale = np.diag(turned)
        if (scale > 0).all() and np.allclose(turned, np.diag(scale), atol=1e-4 * scale.max()):
            stds = 1 / scale
            means = -black.numpy() * stds
            return _rounded(means), _rounded(stds), bgr
    raise KdpipeError("its preprocessing mixes the channels of an image")


def _middle(found: Tensor) -> Tensor:
    """The pixel in the middle, (3,), which no border reaches."""
    return found[:, found.shape[1] // 2, found.shape[2] // 2]


def _rounded(values: np.ndarray) -> list[float]:
    """Without the noise of single precision."""
    return [round(float(value), 6) + 0.0 for value in values]


def _geometry(
    process: Process, means: list[float], stds: list[float], bgr: bool
) -> tuple[int | None, int | None, Literal["crop", "stretch"], tuple[str, ...]]:
    """Size, edge before the cut, fit, and what is done in another way, from images whose red grows
    from left to right and whose green grows from top to bottom."""
    across, down = _seen(process, SQUARE, SQUARE, means, stds, bgr)
    wide_across, wide_down = _seen(process, WIDTH, HEIGHT, means, stds, bgr)
    if len(across) == len(down) == SQUARE and len(wide_across) == WIDTH:
        return None, None, "crop", ()
    size = len(down)
    if len(across) != size:
        return None, None, "crop", ("it gives images that are no squares",)
    other: tuple[str, ...] = ()
    if (len(wide_down), len(wide_across)) != (size, size):
        other = ("it keeps the whole of an image that is no square, kdpipe the middle",)
        wide_across, wide_down = across, down
        width, height = SQUARE, SQUARE
    else:
        width, height = WIDTH, HEIGHT
    lines = [_line(values) for values in (wide_across, wide_down)]
    if any(line is None for line in lines):
        return size, size, "crop", ("it does more than resize an image and cut out its middle",)
    (step_x, middle_x), (step_y, middle_y) = [line for line in lines if line is not None]
    # Pixels of the image that one pixel of the output stands for.
    step_x, step_y = step_x * width, step_y * height
    if max(abs(middle_x - 0.5) * width / step_x, abs(middle_y - 0.5) * height / step_y) > 2:
        other = (*other, "what it cuts out is not the middle")
    near = CLOSE + 1 / size  # small images are rounded to whole pixels more coarsely
    if width != height and abs(step_x / step_y - width / height) < near * width / height:
        return size, max(size, round(height / step_y)), "stretch", other
    if abs(step_x / step_y - 1) < near:
        return size, max(size, round(height / step_y)), "crop", other
    return size, size, "crop", (*other, "it changes the proportions of an image in its own way")


def _seen(
    process: Process, width: int, height: int, means: list[float], stds: list[float], bgr: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Where in the image, from 0 to 1, the columns and the rows of the output come from."""
    places = np.zeros((height, width, 3))
    places[..., 0] = (np.arange(width) + 0.5) / width
    places[..., 1] = ((np.arange(height) + 0.5) / height)[:, None]
    # Rounded at random: what is rounded to the nearest level grows in steps, unevenly.
    drawn = np.random.default_rng(0).random(places.shape)
    pixels = np.floor(places * 255 + drawn).astype(np.uint8)
    found = _processed(process, pixels).numpy()
    found = found * np.reshape(stds, (3, 1, 1)) + np.reshape(means, (3, 1, 1))
    red, green, _ = found[::-1] if bgr else found
    return red.mean(0), green.mean(1)


def _line(values: np.ndarray) -> tuple[float, float] | None:
    """Step from place to place, and the middle, of what grows evenly; None for anything else."""
    places = np.arange(len(values)) - (len(values) - 1) / 2
    inner = slice(len(values) // 10, len(values) - len(values) // 10)
    step, middle = np.polyfit(places[inner], values[inner], 1)
    off = np.abs(values - (step * places + middle))
    if step <= 0 or off.max() > 0.02:
        return None
    return float(step), float(middle)
