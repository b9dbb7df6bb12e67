"""What a data source provides: a listing of its images, and pixels on request."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from kdpipe.base.errors import KdpipeError
from kdpipe.base.options import Options
from kdpipe.base.paths import expanded
from kdpipe.data.sources import sources as sources


@dataclass(frozen=True)
class Listing:
    """Every image of a source, before any is decoded.

    ``refs``: a stable name per image; ``labels``: class number (n,); ``groups``: a word per
    image, '' for one of no group, or None; ``splits``: ``train``/``test`` per image where the
    source has its own split, or ``train``/``val``/``test``.
    ``domains``: a word per image where a source holds different images in each domain; a study
    then picks from these names. ``cues``: per image the class number that a misleading cue stands
    for, or −1. ``notes``: sentences about what lies there and is left out.
    """

    refs: list[str]
    labels: np.ndarray
    class_names: list[str]
    groups: np.ndarray | None = None
    splits: np.ndarray | None = None
    domains: np.ndarray | None = None
    cues: np.ndarray | None = None
    notes: tuple[str, ...] = ()


class Source(ABC):
    """A data set on disk or inside a package.

    ``usual_classes``, ``usual_images``: how many it has wherever it is complete, so that the cost
    of a study is known without its data; None where only the data tell.
    ``usual_domains``: among how many domains its images are divided; None where every domain is a
    version of each image.

    >>> @sources.register("greys")
    ... class Greys(Source):
    ...     "Sixteen grey images: dark, or light."
    ...     def listing(self):
    ...         refs = [f"greys/{level}" for level in range(16)]
    ...         return Listing(refs, np.arange(16) // 8, ["dark", "light"])
    ...     def decode(self, rows):
    ...         return [np.full((8, 8, 1), 16 * row, np.uint8) for row in rows]
    >>> from kdpipe.testing import check_source
    >>> check_source(Greys)
    """

    name: str
    Options: type[Options] = Options
    usual_classes: int | None = None
    usual_images: int | None = None
    usual_domains: int | None = None

    def __init__(self, options: Any, root: Path | None) -> None:
        self.options = options
        self.root = root

    @abstractmethod
    def listing(self) -> Listing:
        """All images; cheap, nothing is decoded."""

    @abstractmethod
    def decode(self, rows: np.ndarray) -> list[np.ndarray]:
        """The images of ``rows`` of the listing, uint8 (height, width, channels) each."""

    def fetch(self, refs: Sequence[str], shorter: int | None = None) -> list[np.ndarray]:
        """The images called ``refs`` in the listing, uint8 (height, width, channels) each.

        A large image may come at a reduced size as long as no side is below ``shorter`` pixels.
        Sources of large images override this, so that a process that decodes images while it
        trains has not to list millions of files first.
        """
        return self.decode(np.array([self._rows[ref] for ref in refs], dtype=np.int64))

    def n_classes(self) -> int:
        """Number of classes, from the data only where it has to be."""
        return self.usual_classes or len(self.listing().class_names)

    def n_images(self) -> int:
        """Number of images, over all its splits and domains, from the data only if it has to be."""
        return self.usual_images or len(self.listing().refs)

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {ref: row for row, ref in enumerate(self.listing().refs)}

    def folder(self, path: str) -> Path:
        """``path`` under the data root. Raises KdpipeError when the study has no data root."""
        place = expanded(path)
        if self.root is None and not place.is_absolute():
            raise KdpipeError(
                f"Source {self.name} reads from disk: set data.root in the study, KDPIPE_DATA or "
                f"--config data_root=… to the folder that holds {path}."
            )
        return expanded(self.root or "") / place
