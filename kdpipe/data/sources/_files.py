"""Image files in folders: finding and decoding them."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import IO

import numpy as np

from kdpipe.data.sources.base import Listing, Source
from kdpipe.errors import KdpipeError

# What is decoded; Pillow would hand an EPS file to a program of its own.
FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "TIFF", "GIF", "PPM")
LONGEST = 100
"""An image may be that often as wide as high, or as high as wide: a square of the shorter side is
cut from it, for which it is enlarged as a whole."""
ENDINGS = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff"}


def names_under(folder: Path) -> list[str]:
    """Paths of all image files under ``folder``, relative to it, sorted; links are followed."""
    found = []
    for where, below, names in os.walk(folder, followlinks=True):
        if os.path.islink(where) and os.path.realpath(where) in _outer(where):
            below.clear()  # a link back to what it lies in
            continue
        inside = Path(where).relative_to(folder).as_posix()
        start = "" if inside == "." else f"{inside}/"
        # Names that begin with a dot are what other programs leave beside images.
        found += [
            start + name
            for name in names
            if os.path.splitext(name)[1].lower() in ENDINGS and not name.startswith(".")
        ]
    return sorted(found)


def _outer(place: str) -> set[str]:
    return {os.path.realpath(parent) for parent in Path(place).absolute().parents}


def image_files(folder: Path, layout: str) -> list[Path]:
    """Every image file under ``folder``, sorted.

    Raises KdpipeError that names the folder and the layout it should have, when there is none.
    """
    if not (names := names_under(folder)):
        state = "holds no image file" if folder.is_dir() else "does not exist"
        raise KdpipeError(f"The folder {folder} {state}; expected are files {layout}.")
    return [folder / name for name in names]


def folders_in(folder: Path, layout: str) -> list[str]:
    """Names of the folders inside ``folder``, sorted.

    Raises KdpipeError that names the folder and the layout it should have, when there is none.
    """
    if not folder.is_dir():
        raise KdpipeError(f"The folder {folder} does not exist; expected are files {layout}.")
    names = sorted(e.name for e in os.scandir(folder) if e.is_dir() and e.name[0] != ".")
    if not names:
        raise KdpipeError(f"The folder {folder} holds no folder; expected are files {layout}.")
    return names


def class_folders(folder: Path, layout: str) -> dict[str, list[str]]:
    """Class name to its image files, relative to ``folder``: one folder a class.

    Raises KdpipeError when a folder is missing, or a class has no image.
    """
    found = {}
    for name in folders_in(folder, layout):
        files = names_under(folder / name)
        if not files:
            raise KdpipeError(
                f"Class '{name}' has no image: the folder {folder / name} holds no image file; "
                f"put images into it or remove it."
            )
        found[name] = [f"{name}/{file}" for file in files]
    return found


def grouped_classes(
    base: Path, folders: Sequence[str], layout: str
) -> tuple[list[str], list[str], list[str], list[str]]:
    """Images of ``base/FOLDER/CLASS/`` for every one of ``folders``.

    Returns the class names, and of each image its path below ``base``, its class and its folder.
    Raises KdpipeError where the folders differ in their classes.
    """
    names: list[str] = []
    refs: list[str] = []
    of_class: list[str] = []
    of_folder: list[str] = []
    for folder in folders:
        found = class_folders(base / folder, layout)
        names = names or list(found)
        if odd := set(names) ^ set(found):
            raise KdpipeError(
                f"The folders {base / folders[0]} and {base / folder} differ in their classes: "
                f"'{min(odd)}' is in one of them only."
            )
        for name, files in found.items():
            refs += [f"{folder}/{file}" for file in files]
            of_class += [name] * len(files)
            of_folder += [folder] * len(files)
    return names, refs, of_class, of_folder


def decode_image(path: Path, shorter: int | None = None) -> np.ndarray:
    """uint8 (height, width, 3). Raises KdpipeError when the file is not a readable image.

    A JPEG file may come at 1/2, 1/4 or 1/8 of its size, with no side below ``shorter`` pixels.
    """
    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise KdpipeError(f"The image {path} is no file; take it out of the folder.")
    return _decoded(path, str(path), shorter)


def decode_bytes(content: bytes, name: str, shorter: int | None = None) -> np.ndarray:
    """As :func:`decode_image`, for the content of a file that is called ``name`` in messages."""
    return _decoded(BytesIO(content), name, shorter)


def _decoded(file: Path | IO[bytes], name: str, shorter: int | None) -> np.ndarray:
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            # Pillow only warns of a file of 90 megapixels, which no data set needs.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file, formats=FORMATS) as image:
                if max(image.size) > LONGEST * min(image.size):
                    raise ValueError(f"{image.width}×{image.height} pixels make no square")
                if shorter is not None:
                    # libjpeg computes the smaller image from fewer coefficients.
                    scale = shorter / min(image.size)
                    wanted = [max(shorter, round(side * scale)) for side in image.size]
                    image.draft("RGB", (wanted[0], wanted[1]))
                return np.array(image.convert("RGB"))
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
    raise KdpipeError(
        f"The image {name} cannot be read ({reason}); replace it or take it out of the folder."
    )


class FileSource(Source):
    """Base of the sources whose images are files under one folder, ``options.path``.

    A ref is a file's path relative to that folder.
    """

    @property
    def base(self) -> Path:
        return self.folder(self.options.path)

    @cached_property
    def _listing(self) -> Listing:
        raise NotImplementedError

    def listing(self) -> Listing:
        return self._listing

    def fetch(self, refs: Sequence[str], shorter: int | None = None) -> list[np.ndarray]:
        base = self.base
        return [decode_image(base / ref, shorter) for ref in refs]

    def decode(self, rows: np.ndarray) -> list[np.ndarray]:
        return self.fetch([self._listing.refs[r] for r in rows])


def numbered(class_names: Sequence[str], of_each: Sequence[str]) -> np.ndarray:
    """Class number (n,) of the class name of each image."""
    number = {name: i for i, name in enumerate(class_names)}
    return np.array([number[name] for name in of_each], dtype=np.int64)
