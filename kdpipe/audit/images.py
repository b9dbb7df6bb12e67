"""The images of an audit: which source reads them, and at which size."""

from __future__ import annotations

import glob
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kdpipe.audit.options import translated
from kdpipe.base.errors import KdpipeError
from kdpipe.base.paths import expanded
from kdpipe.base.plugin import resolve
from kdpipe.models.shared.preprocessing import Preprocessing

LOOKED_AT = 16
SPLIT = {"train": 0.0, "val": 0.1, "test": 0.9}
"""Attacks are fitted to the teacher on the validation images; all others are probed."""


@dataclass(frozen=True)
class Columns:
    """Names of columns in Parquet files."""

    image: str = "image"
    label: str = "label"
    group: str | None = None


def source(path: Path, columns: Columns) -> dict[str, Any]:
    """The source of a study that reads ``path``: a folder of images, Parquet files or one of them.

    Raises KdpipeError when there is nothing of the kind.
    """
    from kdpipe.data.sources.shared.parquet_files import holds_parquet

    path = expanded(path)
    names = {key: value for key, value in vars(columns).items() if value is not None}
    if path.suffix == ".parquet" and path.is_file():
        pattern = glob.escape(path.name)
        return {"name": "parquet", "path": str(path.parent.absolute()), **names} | {
            "files": {"test": pattern}
        }
    if not path.is_dir():
        raise KdpipeError(
            f"--data {path}: there is no such folder or Parquet file; give a folder of images "
            f"(CLASS/NAME.jpg) or Parquet files."
        )
    if holds_parquet(path):
        return {"name": "parquet", "path": str(path.absolute()), **names}
    if columns != Columns():
        raise KdpipeError(f"--data {path} is a folder of images, which has no columns.")
    return {"name": "image_folder", "path": str(path.absolute())}


@dataclass(frozen=True)
class Square:
    """How an image becomes a square.

    ``size``: of what networks see, in pixels of a side; None to choose it by the networks and the
    images. ``fit``: ``crop`` or ``stretch``. ``resize``: what the shorter side is brought to
    before the middle is cut out. None for what the files of the networks say, else for ``crop``
    and ``size``.
    """

    size: int | None = None
    fit: str | None = None
    resize: int | None = None


def prepared(hows: Mapping[str, Preprocessing | None]) -> Preprocessing | None:
    """How the files of networks, by the names of their models, say that images are prepared: one
    way for all, since all get the same images. Prints where they differ.
    """
    told = {name: how for name, how in hows.items() if how is not None and how.size is not None}
    if not told:
        return None
    (first, chosen), *others = told.items()
    for name, how in others:
        if (how.fit, _share(how)) != (chosen.fit, _share(chosen)):
            said = (
                f"models/{name}/seed0 was trained on images prepared otherwise ({how.words}); all "
                f"networks get the same images, prepared as for models/{first}/seed0 "
                f"({chosen.words}). --fit, --size and --resize change that."
            )
            print(translated(said), flush=True)
    return chosen


def _share(how: Preprocessing) -> float:
    """How much of the resized side is seen."""
    return round((how.size or 1) / (how.resize or how.size or 1), 2)


def data_set(
    path: Path,
    domain: str,
    columns: Columns,
    square: Square,
    sizes: Sequence[int],
    usual: Preprocessing | None = None,
) -> dict[str, Any]:
    """A data set of which nothing is trained on.

    ``sizes``: pixels of a side of what the networks were trained on, as far as that is known.
    ``usual``: how their images were prepared, where ``square`` leaves it open.
    """
    made = source(path, columns)
    shapes: set[tuple[int, ...]] = set()
    if square.size is None or usual is not None:
        shapes = _some_shapes(made)
    size = square.size or _size(shapes, path, sizes)
    resize, fit = square.resize, square.fit or (usual.fit if usual else "crop")
    if resize is not None and resize < size:
        raise KdpipeError(
            f"--resize {resize}: the networks see {size} pixels of each side (--size), and "
            f"cannot be shown more than is kept; give {size} or more."
        )
    if resize is None and usual is not None and usual.size and usual.resize:
        resize = round(size * usual.resize / usual.size)
        smallest = min(min(shape) for shape in shapes)
        if size < usual.size and resize > smallest:
            print(
                f"--data {path}: its images have {smallest} pixels, so they are not brought to "
                f"{resize} before the middle of {size} is cut out; all of that is shown.",
                flush=True,
            )
            resize = None
    return {
        "source": made,
        "size": size,
        **({"store_size": resize} if resize and resize != size else {}),
        **({"fit": fit} if fit != "crop" else {}),
        "split": SPLIT,
        "domains": {domain: "original"},
    }


def _some_shapes(made: dict[str, Any]) -> set[tuple[int, ...]]:
    """Height and width of some of the images."""
    from kdpipe.data.sources import sources

    reader = resolve(sources, made).make(None)
    count = len(reader.listing().refs)
    some = np.unique(np.linspace(0, count - 1, LOOKED_AT).astype(int))
    return {image.shape[:2] for image in reader.decode(some)}


def _size(shapes: set[tuple[int, ...]], path: Path, sizes: Sequence[int]) -> int:
    """As large as the largest network wants, and no larger than the images are."""
    if sizes:
        return max(8, min(max(sizes), min(min(shape) for shape in shapes)))
    if len(shapes) == 1 and len(set(*shapes)) == 1:
        return next(iter(shapes))[0]
    raise KdpipeError(
        f"The images in {path} are no squares of one size; say with --size how large the networks "
        f"were trained to see them, or one by one with --teacher-size, --student-size and "
        f"--baseline-size."
    )
