"""What a data source provides: a listing of its images, and pixels on request."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kdpipe.options import Options
from kdpipe.registry import Registry


@dataclass(frozen=True)
class Listing:
    """Every image of a source, before any is decoded.

    ``refs``: a stable name per image; ``labels``: class number (n,); ``groups``: a word per
    image, or None; ``splits``: ``train``/``test`` per image where the source has its own split,
    or ``train``/``val``/``test``.
    ``domains``: a word per image where a source holds different images in each domain; a study
    then picks from these names. ``cues``: per image the class number that a misleading cue stands
    for, or −1.
    """

    refs: list[str]
    labels: np.ndarray
    class_names: list[str]
    groups: np.ndarray | None = None
    splits: np.ndarray | None = None
    domains: np.ndarray | None = None
    cues: np.ndarray | None = None


class Source(ABC):
    """A data set on disk or inside a package."""

    name: str
    Options: type[Options] = Options

    def __init__(self, options: Any, root: Path | None) -> None:
        self.options = options
        self.root = root

    @abstractmethod
    def listing(self) -> Listing:
        """All images; cheap, nothing is decoded."""

    @abstractmethod
    def decode(self, rows: np.ndarray) -> list[np.ndarray]:
        """The images of ``rows`` of the listing, uint8 (height, width, channels) each."""


sources: Registry[Source] = Registry("sources", "kdpipe.data.sources")
