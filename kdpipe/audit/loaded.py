"""Images of a DataLoader, or of arrays, as the folder of images that an audit reads."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kdpipe.base.errors import KdpipeError
from kdpipe.data.sources.shared.files import litter

Scale = tuple[Sequence[float], Sequence[float]]
NEAR = 0.02
"""How far beyond 0…1 the rounding of a normalisation may take an image."""
SMALLEST = 8
"""Pixels of a side."""
LONGEST = 80
"""Characters of the name of a class, in a path."""
FORM = (
    "give a DataLoader of batches (images, labels), or two arrays: images (n, channels, height, "
    "width) and labels (n,)"
)


class Images:
    """The labelled square images of a DataLoader, or of two arrays.

    ``scale``: mean and deviation that they are normalised by; None for images in [0, 1] or of
    bytes. The loader is gone through once. Raises KdpipeError for anything that is no labelled
    square image.
    """

    def __init__(self, loader: Any, scale: Scale | None) -> None:
        self._scale = scale
        self._batches = _batches(loader)
        self._start = next(self._batches, None)
        if self._start is None:
            raise KdpipeError("loader: it has no image.")
        *_, height, width = self._start[0].shape
        if height != width:
            raise KdpipeError(
                f"loader: its images are {height} pixels high and {width} wide; let its transform "
                f"make squares of them, as the networks see them."
            )
        if height < SMALLEST:
            raise KdpipeError(
                f"loader: its images have {height}×{width} pixels; kdpipe takes {SMALLEST} or more "
                f"of a side."
            )
        self.side = int(height)
        """Pixels of a side."""

    @property
    def first(self) -> np.ndarray:
        """Two images of the first batch, float32 (2, channels, side, side) in [0, 1]."""
        assert self._start is not None
        some = self._start[0][:2]
        pixels = _bytes(some, self._scale)[..., : some.shape[1]]
        return pixels.transpose(0, 3, 1, 2).astype(np.float32) / 255

    def write(self, folder: Path, names: Sequence[str]) -> int:
        """Write ``folder/test/CLASS/NUMBER.png`` for every image, and return their number.

        ``names``: of the classes, by label.
        """
        from PIL import Image

        assert self._start is not None
        n, shape = 0, self._start[0].shape[1:]
        for images, labels in itertools.chain([self._start], self._batches):
            if images.shape[1:] != shape:
                raise KdpipeError(
                    f"loader: its images are of several shapes, {_by(shape)} and "
                    f"{_by(images.shape[1:])}; let its transform bring them to one."
                )
            if len(wrong := labels[labels >= len(names)]):
                raise KdpipeError(
                    f"loader: there is a label {wrong[0]}, but there are {len(names)} classes, "
                    f"with the labels 0 to {len(names) - 1}."
                )
            for pixels, label in zip(_bytes(images, self._scale), labels.tolist(), strict=True):
                place = folder / "test" / names[label]
                place.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(place / f"{n:08d}.png", compress_level=1)
                n += 1
        return n


def class_names(names: Sequence[str]) -> list[str]:
    """``names`` as folders can be called: each one once, no path and no hidden file."""
    found: list[str] = []
    for name in names:
        plain = " ".join(str(name).replace("/", "_").replace("\0", "").split())[:LONGEST] or "_"
        plain = f"_{plain}" if litter(plain) else plain
        found.append(plain if plain not in found else f"{plain} {len(found)}")
    return found


def _batches(loader: Any) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Images (n, c, h, w) and labels (n,), batch by batch."""
    if isinstance(loader, tuple | list) and len(loader) == 2 and hasattr(loader[1], "shape"):
        loader = [tuple(loader)]
    if not isinstance(loader, Iterable) or isinstance(loader, str | dict):
        raise KdpipeError(f"loader is a {type(loader).__name__}; {FORM}.")
    for batch in loader:
        if not isinstance(batch, tuple | list) or len(batch) < 2:
            raise KdpipeError(f"loader: a batch is a {type(batch).__name__}; {FORM}.")
        images, labels = _images(_array(batch[0])), _array(batch[1])
        if labels.shape != images.shape[:1]:
            raise KdpipeError(
                f"loader: labels of the shape {labels.shape} do not fit {len(images)} images; "
                f"give the number of a class for each."
            )
        if labels.dtype.kind not in "iu" or (len(labels) and labels.min() < 0):
            raise KdpipeError(
                f"loader: labels have to be whole numbers from 0 (these are {labels.dtype}"
                + (f" from {labels.min()})." if labels.dtype.kind in "iu" else ").")
            )
        if len(labels):
            yield images, labels


def _array(values: Any) -> np.ndarray:
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        values = values.float() if values.dtype.is_floating_point else values
    try:
        return np.asarray(values)
    except Exception as error:
        raise KdpipeError(f"loader: a batch cannot be read as an array ({error}).") from None


def _images(images: np.ndarray) -> np.ndarray:
    """(n, c, h, w), whichever way round they came."""
    if images.ndim == 3:
        images = images[:, None]
    if images.ndim == 4 and images.shape[1] not in (1, 3) and images.shape[3] in (1, 3):
        images = images.transpose(0, 3, 1, 2)
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise KdpipeError(
            f"loader: images of the shape {images.shape}; {FORM}, with one or three channels."
        )
    return images


def _bytes(images: np.ndarray, scale: Scale | None) -> np.ndarray:
    """uint8 (n, h, w, 3)."""
    if images.dtype != np.uint8:
        values = images.astype(np.float64)
        if scale is not None:
            mean, std = (np.asarray(part)[: images.shape[1], None, None] for part in scale)
            values = values * std + mean
        low, high = float(values.min()), float(values.max())
        if not (low >= -NEAR and high <= 1 + NEAR):  # also where they are NaN
            how = "with these means and deviations they were" if scale is not None else "they are"
            raise KdpipeError(
                f"loader: images have to be in [0, 1], and {how} from {low:.3g} to {high:.3g}; "
                f"give normalised=(mean, std) of the loader's transform, or bytes (uint8)."
            )
        images = np.rint(values.clip(0, 1) * 255).astype(np.uint8)
    elif scale is not None:
        raise KdpipeError(
            "loader: its images are bytes, which no transform has normalised; give normalise= "
            "(what the networks are trained with) in place of normalised=."
        )
    return np.repeat(images, 3 // images.shape[1], axis=1).transpose(0, 2, 3, 1)


def _by(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape))
