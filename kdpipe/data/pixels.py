"""Writing the decoded pixels of a subset, portion by portion."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from kdpipe.data.render import Renderer
from kdpipe.data.sources.shared.decode import DamagedError

PORTION = 64 * 2**20  # bytes of pixels that are held in memory at once
SAMPLED = 64  # images that are decoded for a fingerprint where none is stored


def write_pixels(
    path: Path, shape: tuple[int, ...], index: dict[str, np.ndarray], renderer: Renderer
) -> None:
    """Decode each source image once, and write its versions where the index has them.

    The source images of a domain and split ascend in the index, so that a portion of them is one
    stretch of the file. Raises DamagedError that names all images that cannot be read.
    """
    damaged: list[tuple[str, str]] = []
    with open(path, "wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        start, bytes_each = file.tell(), shape[1] * shape[2] * 3
        # Not a memory map: on a full disk writing to one ends the process without a word.
        for rows in _portions(index, shape[0], bytes_each):
            try:
                images = renderer.images(index, rows)
            except DamagedError as error:
                damaged += error.images  # and those that follow, so that all can be mended at once
                continue
            for first, last in _stretches(rows):
                file.seek(start + int(rows[first]) * bytes_each)
                file.write(images[first:last].data)
    if damaged:
        raise DamagedError(damaged)


def _portions(index: dict[str, np.ndarray], n: int, bytes_each: int) -> Iterator[np.ndarray]:
    """Rows of the index, ascending within a portion: all versions of some source images."""
    size = max(1, PORTION // max(1, bytes_each))
    order = np.argsort(index["source_id"][:n], kind="stable")
    sources_of = index["source_id"][order]
    start = 0
    while start < n:
        end = min(n, start + size)
        # All versions of an image belong to one portion.
        end = int(np.searchsorted(sources_of, sources_of[end - 1], side="right"))
        yield np.sort(order[start:end])
        start = end


def _stretches(rows: np.ndarray) -> Iterator[tuple[int, int]]:
    """First and last position (exclusive) of each run of consecutive numbers."""
    breaks = np.flatnonzero(np.diff(rows) != 1) + 1
    ends = [0, *breaks.tolist(), len(rows)]
    yield from pairwise(ends)


def pixels_digest(path: Path, index: dict[str, np.ndarray], renderer: Renderer) -> dict[str, Any]:
    """SHA-256 of the stored pixels, or of some images that are decoded now, and of how many."""
    pixels = np.load(path, mmap_mode="r")
    if not len(pixels):
        rows = np.linspace(0, len(index["label"]) - 1, SAMPLED).astype(np.int64)
        pixels = renderer.images(index, np.unique(rows))
    total = hashlib.sha256()
    for start in range(0, len(pixels), 4096):
        total.update(np.ascontiguousarray(pixels[start : start + 4096]).data)
    return {"pixels_sha256": total.hexdigest(), "pixels_hashed": len(pixels)}
