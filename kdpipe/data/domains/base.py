"""A domain renders source images in one version: grey, coloured, blended, …"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kdpipe.base.options import Options
from kdpipe.data.domains import domains as domains


@dataclass(frozen=True)
class Batch:
    """Source images of one split: ``pixels`` uint8 (n, h, w, c), ``labels`` (n,), ``ids`` (n,)."""

    pixels: np.ndarray
    labels: np.ndarray
    ids: np.ndarray
    split: str
    n_classes: int


class Domain(ABC):
    """One version of the images. ``seed`` keys the random draws of :func:`seeding.uniforms`.

    What becomes of an image depends on nothing but itself, its label, id and split: images are
    rendered in portions, in advance or when a training asks for them.

    >>> @domains.register("negative")
    ... class Negative(Domain):
    ...     "Dark where the image is light."
    ...     def render(self, batch):
    ...         return three_channels(255 - batch.pixels)
    >>> grey = np.full((1, 2, 2, 1), 55, np.uint8)
    >>> batch = Batch(grey, labels=np.array([3]), ids=np.array([0]), split="test", n_classes=10)
    >>> Negative(Options(), seed=0, root=None).render(batch)[0, 0, 0].tolist()
    [200, 200, 200]
    """

    name: str
    Options: type[Options] = Options

    def __init__(self, options: Any, seed: int, root: Path | None) -> None:
        self.options = options
        self.seed = seed
        self.root = root

    @abstractmethod
    def render(self, batch: Batch) -> np.ndarray:
        """The images in this domain, uint8 (n, h, w, 3)."""

    def cues(self, batch: Batch) -> np.ndarray | None:
        """The class (n,) that the cue planted in each image stands for, or None.

        Without a look at the pixels, which an image set that is decoded on the fly does not have
        when its index is written.
        """
        return None


def three_channels(pixels: np.ndarray) -> np.ndarray:
    """Repeat a single channel; leaves colour images alone."""
    return np.repeat(pixels, 3, axis=3) if pixels.shape[3] == 1 else pixels


def on_background(pixels: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """White strokes over a background: ``colours`` float in [0, 1], (n, 3) or (n, h, w, 3).

    The intensity of the image (mean over channels) is the opacity of the stroke.
    """
    opacity = pixels.mean(axis=3, keepdims=True, dtype=np.float32) / 255
    if colours.ndim == 2:
        colours = colours[:, None, None, :]
    return np.round(255 * (opacity + (1 - opacity) * colours)).astype(np.uint8)
