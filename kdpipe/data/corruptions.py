"""Common corruptions of images, each in five severities (Hendrycks & Dietterich 2019)."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kdpipe.base.seeding import stream

Image = NDArray[np.float64]
"""Values (h, w, 3) in [0, 1], of 256 levels before and of any after the corruption."""
Scale = Literal["cifar", "imagenet"]
Kind = Literal[
    "gaussian_noise",
    "shot_noise",
    "defocus_blur",
    "gaussian_blur",
    "brightness",
    "contrast",
    "pixelate",
    "jpeg",
]

# By the constants that the authors published: those of CIFAR-10-C, for images of 32 pixels, and
# those of ImageNet-C, for 224.
CONSTANTS: dict[Kind, dict[Scale, tuple[Any, ...]]] = {
    # Standard deviation, of images in [0, 1].
    "gaussian_noise": {
        "cifar": (0.04, 0.06, 0.08, 0.09, 0.10),
        "imagenet": (0.08, 0.12, 0.18, 0.26, 0.38),
    },
    # Photons of a white pixel.
    "shot_noise": {"cifar": (500, 250, 100, 75, 50), "imagenet": (60, 25, 12, 5, 3)},
    # Radius of the disk, and standard deviation of what smooths its edge, in pixels.
    "defocus_blur": {
        "cifar": ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
        "imagenet": ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
    },
    # Standard deviation in pixels.
    "gaussian_blur": {"cifar": (0.4, 0.6, 0.7, 0.8, 1), "imagenet": (1, 2, 3, 4, 6)},
    # What is added to the value in HSV.
    "brightness": {"cifar": (0.05, 0.1, 0.15, 0.2, 0.3), "imagenet": (0.1, 0.2, 0.3, 0.4, 0.5)},
    # What is left of the distance from the mean colour.
    "contrast": {"cifar": (0.75, 0.5, 0.4, 0.3, 0.15), "imagenet": (0.4, 0.3, 0.2, 0.1, 0.05)},
    # Width of the small image, as a share.
    "pixelate": {
        "cifar": (0.95, 0.9, 0.85, 0.75, 0.65),
        "imagenet": (0.6, 0.5, 0.4, 0.3, 0.25),
    },
    # Quality as libjpeg counts it.
    "jpeg": {"cifar": (80, 65, 58, 50, 40), "imagenet": (25, 18, 15, 10, 7)},
}
SEVERITIES = (1, 2, 3, 4, 5)


def _gaussian_noise(image: Image, deviation: float, rng: np.random.Generator) -> Image:
    return image + rng.normal(0, deviation, image.shape)


def _shot_noise(image: Image, photons: float, rng: np.random.Generator) -> Image:
    return rng.poisson(image * photons) / photons


def disk(radius: float, deviation: float) -> Image:
    """Weights (k, k) of a lens out of focus: a disk with a smoothed edge.

    They sum up to 1, and to 1.01 for a disk that touches the edge of its square (8, 10), where
    the published code mirrors it.
    """
    half = 8 if radius <= 8 else int(radius)
    across = np.arange(-half, half + 1)
    inside = (across[:, None] ** 2 + across**2 <= radius**2).astype(np.float64)
    inside /= inside.sum()
    reach = np.arange(-1, 2) if radius <= 8 else np.arange(-2, 3)
    smooth = np.exp(-(reach**2) / (2 * deviation**2))
    smooth /= smooth.sum()
    from scipy.ndimage import convolve1d

    for axis in (0, 1):
        inside = convolve1d(inside, smooth, axis=axis, mode="mirror")
    return inside


def _defocus_blur(image: Image, of: tuple[float, float], _rng: np.random.Generator) -> Image:
    from scipy.ndimage import correlate

    return correlate(image, disk(*of)[:, :, None], mode="mirror")


def _gaussian_blur(image: Image, deviation: float, _rng: np.random.Generator) -> Image:
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(image, (deviation, deviation, 0), mode="nearest")


def _brightness(image: Image, added: float, _rng: np.random.Generator) -> Image:
    """Hue and saturation stay, so that every channel is multiplied alike; black becomes grey."""
    value = image.max(2, keepdims=True)
    raised = np.minimum(value + added, 1)
    return np.where(value > 0, image * raised / np.where(value > 0, value, 1), raised)


def _contrast(image: Image, left: float, _rng: np.random.Generator) -> Image:
    mean = image.mean((0, 1), keepdims=True)
    return (image - mean) * left + mean


def _pixelate(image: Image, share: float, _rng: np.random.Generator) -> Image:
    from PIL import Image as Pillow

    shown = Pillow.fromarray(_levels(image))
    w, h = shown.size
    small = shown.resize((max(1, int(w * share)), max(1, int(h * share))), Pillow.Resampling.BOX)
    return np.asarray(small.resize((w, h), Pillow.Resampling.BOX)) / 255


def _jpeg(image: Image, quality: int, _rng: np.random.Generator) -> Image:
    from PIL import Image as Pillow

    file = io.BytesIO()
    Pillow.fromarray(_levels(image)).save(file, "JPEG", quality=quality)
    return np.asarray(Pillow.open(file)) / 255


CORRUPTIONS: dict[Kind, Callable[[Image, Any, np.random.Generator], Image]] = {
    "gaussian_noise": _gaussian_noise,
    "shot_noise": _shot_noise,
    "defocus_blur": _defocus_blur,
    "gaussian_blur": _gaussian_blur,
    "brightness": _brightness,
    "contrast": _contrast,
    "pixelate": _pixelate,
    "jpeg": _jpeg,
}


def _levels(image: Image) -> NDArray[np.uint8]:
    return np.rint(255 * image).astype(np.uint8)


def corrupted(
    pixels: NDArray[np.uint8], ids: NDArray[np.int64], kind: Kind, severity: int, scale: Scale
) -> NDArray[np.uint8]:
    """Images uint8 (n, h, w, 3) after a corruption; noise is drawn by the ids (n,) alone.

    ``severity`` 1 to 5. The values are cut off at 0 and 1 and end without a fraction of a level,
    as in the published sets.
    """
    constant = CONSTANTS[kind][scale][severity - 1]
    key = stream("corruption", kind, severity)
    found = np.empty_like(pixels)
    for k, (image, number) in enumerate(zip(pixels, ids.tolist(), strict=True)):
        rng = np.random.default_rng([key, number])
        made = CORRUPTIONS[kind](image / 255, constant, rng)
        # A hair more, so that what is a level but for rounding stays that level.
        found[k] = np.floor(255 * np.clip(made, 0, 1) + 1e-9).astype(np.uint8)
    return found
