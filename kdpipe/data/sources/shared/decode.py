"""From the content of an image file to 8-bit RGB pixels, the same way for every source."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kdpipe.base.errors import KdpipeError, some_of

if TYPE_CHECKING:
    from PIL.Image import Image

# What is decoded; Pillow would hand an EPS file to a program of its own. By format the endings
# that its files have, and the feature of Pillow that decodes it where a build may lack it.
FORMATS: dict[str, tuple[tuple[str, ...], str | None]] = {
    "PNG": ((".png", ".apng"), None),
    "JPEG": ((".jpg", ".jpeg", ".jpe", ".jfif"), None),
    "BMP": ((".bmp", ".dib"), None),
    "WEBP": ((".webp",), "webp"),
    "TIFF": ((".tif", ".tiff"), None),
    "GIF": ((".gif",), None),
    "PPM": ((".ppm", ".pgm", ".pbm", ".pnm"), None),
    "JPEG2000": ((".jp2", ".j2k", ".jpx"), "jpg_2000"),
    "AVIF": ((".avif",), "avif"),
}
LONGEST = 100
"""An image may be that often as wide as high, or as high as wide: a square of the shorter side is
cut from it, for which it is enlarged as a whole."""
MOST, LONGEST_LIST = 10, 1500
"""Damaged images that are named, and letters that this may take."""
DEEP = ("I;16", "I;16L", "I;16B", "I;16N")
PHOTOMETRIC = 262
"""Tag of TIFF; 0 where 0 is white, which Pillow heeds in images of 8 bits alone."""
USED_BITS = 12
"""An image of 16 bits whose values all fit into so many was not written with 65535 as white."""


@cache
def readable() -> dict[str, tuple[str, ...]]:
    """Format to endings, of the formats that this build of Pillow decodes."""
    from PIL import features

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # older versions do not know the feature's name
        return {
            name: endings
            for name, (endings, feature) in FORMATS.items()
            if feature is None or features.check(feature)
        }


@cache
def endings() -> frozenset[str]:
    """Endings of the files that are images, lower case, with the dot."""
    return frozenset(ending for some in readable().values() for ending in some)


class DamagedError(KdpipeError):
    """Images that cannot be read, as (name, reason) each; the message names the first of them."""

    def __init__(self, images: Sequence[tuple[str, str]]) -> None:
        self.images = list(images)
        words = [f"{name} ({reason})" for name, reason in self.images]
        if len(words) == 1:
            (name, reason) = self.images[0]
            text = (
                f"The image {name} cannot be read ({reason}); replace it or take it out of the "
                f"folder."
            )
        else:
            most = next((n for n in range(MOST, 1, -1) if len(some_of(words, n)) < LONGEST_LIST), 1)
            text = (
                f"{len(words)} images cannot be read: {some_of(words, most)}; replace them or "
                f"take them out of the folder."
            )
        super().__init__(text)


def decode_all(
    images: Iterable[tuple[str, Path | bytes]], shorter: int | None = None
) -> list[np.ndarray]:
    """Each image, given by its name for messages and its file or content, as uint8 (height,
    width, 3).

    A JPEG file may come at 1/2, 1/4 or 1/8 of its size, with no side below ``shorter`` pixels.
    Raises DamagedError that names all of those that cannot be read.
    """
    found, damaged = [], []
    for name, content in images:
        try:
            found.append(_decoded(name, content, shorter))
        except _UnreadableError as error:
            damaged.append((name, str(error)))
    if damaged:
        raise DamagedError(damaged)
    return found


def decode_image(path: Path, shorter: int | None = None) -> np.ndarray:
    """One image file, as :func:`decode_all`."""
    return decode_all([(str(path), path)], shorter)[0]


def decode_bytes(content: bytes, name: str, shorter: int | None = None) -> np.ndarray:
    """One image by the content of its file, as :func:`decode_all`."""
    return decode_all([(name, content)], shorter)[0]


class _UnreadableError(Exception):
    """Why an image cannot be read."""


def _decoded(name: str, content: Path | bytes, shorter: int | None) -> np.ndarray:
    from PIL import Image, UnidentifiedImageError

    if isinstance(content, Path) and content.exists() and not content.is_file():
        # A pipe would be waited for.
        raise KdpipeError(f"The image {name} is no file; take it out of the folder.")
    file = BytesIO(content) if isinstance(content, bytes) else content
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # Pillow only warns of a file of 90 megapixels, which no data set needs.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file, formats=list(readable())) as image:
                if max(image.size) > LONGEST * min(image.size):
                    raise ValueError(f"{image.width}×{image.height} pixels make no square")
                if shorter is not None:
                    # libjpeg computes the smaller image from fewer coefficients.
                    scale = shorter / min(image.size)
                    wanted = [max(shorter, round(side * scale)) for side in image.size]
                    image.draft("RGB", (wanted[0], wanted[1]))
                image.load()
                _upright(image)
                return _rgb(image)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        reason = "it has more pixels than a data set's image should, as a decompression bomb has"
    except FileNotFoundError:
        reason = "there is no such file"
    except MemoryError:
        raise  # no fault of the image
    except UnidentifiedImageError:
        reason = "it is no image of a known format"
    except Exception as error:  # Pillow raises whatever reading a damaged file raises
        reason = str(error) or type(error).__name__
    raise _UnreadableError(reason)


def _upright(image: Image) -> None:
    """Turn or mirror the image as its metadata say, which is how programs show it."""
    from PIL import ImageOps

    # Metadata that cannot be read leave the pixels as they are.
    with suppress(Exception):
        ImageOps.exif_transpose(image, in_place=True)


def _rgb(image: Image) -> np.ndarray:
    """uint8 (height, width, 3): grey three times, colours of a palette, without transparency.

    Pillow clips what has more than 8 bits. Here 16-bit grey is scaled from 65535 and floats from
    1; raises ValueError where those are plainly not what is white in the image.
    """
    if image.mode in DEEP or (image.mode == "I" and image.format in ("PNG", "PPM")):
        grey = _of_sixteen_bits(np.asarray(image).astype(np.int64))
    elif image.mode == "I":
        raise ValueError("it has 32-bit integers, of which nobody knows what is white")
    elif image.mode == "F":
        grey = _of_floats(np.asarray(image))
    else:
        return np.array(image.convert("RGB"))
    return np.repeat((255 - grey if _zero_is_white(image) else grey)[:, :, None], 3, axis=2)


def _zero_is_white(image: Image) -> bool:
    tags = getattr(image, "tag_v2", {})  # TIFF alone has them
    return bool(tags.get(PHOTOMETRIC) == 0)


def _of_sixteen_bits(values: np.ndarray) -> np.ndarray:
    most = int(values.max())
    if 0 < most < 2**USED_BITS:
        raise ValueError(
            f"it has 16 bits a pixel but no value above {most}, so that white is not 65535; save "
            f"it with 8 bits, scaled to 0…255"
        )
    return ((values + 128) // 257).astype(np.uint8)  # 65535 = 255 · 257


def _of_floats(values: np.ndarray) -> np.ndarray:
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= 1):  # NaN fails both
        raise ValueError(
            f"its floats go from {low:.4g} to {high:.4g}, but are read from 0 to 1; save it with 8 "
            f"bits, scaled to 0…255"
        )
    return np.round(values.astype(np.float64) * 255).astype(np.uint8)
