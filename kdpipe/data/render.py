"""Renders the images of a data set from the files of a source, in advance or on the fly."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from kdpipe.base.errors import KdpipeError
from kdpipe.base.options import Options
from kdpipe.base.seeding import stream
from kdpipe.data.domains import DomainRef
from kdpipe.data.domains.base import Batch, Domain
from kdpipe.data.sources import SourceRef
from kdpipe.data.sources.base import Source


class ImageFormat(Options):
    """Size and shape of a data set's images, and whether they are decoded in advance."""

    size: int = Field(28, ge=8, description="Height and width in pixels of what networks see.")
    store_size: int | None = Field(
        None,
        ge=8,
        description="Height and width in pixels of stored images, at least size. Networks see "
        "the centre; random resized crops use the whole. Null for size.",
    )
    fit: Literal["crop", "stretch"] = Field(
        "crop",
        description="How an image becomes a square. crop: resize the shorter side and keep the "
        "centre; stretch: resize both sides.",
    )
    decode: Literal["auto", "store", "on_the_fly"] = Field(
        "auto",
        description="Decode all images once and store them, or decode each when needed. auto: "
        "store them if they fit into store_limit.",
    )
    store_limit: float = Field(4.0, ge=0, description="Limit in GB for decode: auto.")

    @model_validator(mode="after")
    def _large_enough(self) -> ImageFormat:
        if self.store_size is not None and self.store_size < self.size:
            raise ValueError(
                f"store_size: it has to be at least size, {self.size}, not {self.store_size}"
            )
        return self

    @property
    def edge(self) -> int:
        """Height and width in pixels of a stored image."""
        return self.store_size or self.size

    def stores(self, n_images: int) -> bool:
        """Whether ``n_images`` are decoded in advance."""
        if self.decode == "auto":
            return n_images * self.edge**2 * 3 <= self.store_limit * 1e9
        return self.decode == "store"


class Rendering(Options):
    """Everything that determines how a source image is rendered."""

    source: SourceRef
    domains: dict[str, DomainRef]
    seed: int
    edge: int
    fit: Literal["crop", "stretch"]
    n_classes: int


class Renderer:
    """Decodes source images and renders them in the domains of a data set."""

    def __init__(self, what: Rendering, data_root: Path | None) -> None:
        self.what = what
        self.data_root = data_root
        self._domains: dict[str, Domain] = {}

    @cached_property
    def source(self) -> Source:
        return self.what.source.make(self.data_root)

    def domain(self, name: str) -> Domain:
        if name not in self._domains:
            key = stream("domain", name, self.what.seed)
            self._domains[name] = self.what.domains[name].make(key, self.data_root)
        return self._domains[name]

    def squares(self, refs: Sequence[str]) -> np.ndarray:
        """The source images, uint8 (n, edge, edge, channels)."""
        images = self.source.fetch(refs, self.what.edge)
        return resize(images, self.what.edge, self.what.fit)

    def images(self, index: dict[str, np.ndarray], rows: np.ndarray) -> np.ndarray:
        """Rows of a subset's index, decoded and rendered: uint8 (n, edge, edge, 3)."""
        out = np.empty((len(rows), self.what.edge, self.what.edge, 3), dtype=np.uint8)
        _, once, of_each = np.unique(
            index["source_id"][rows], return_index=True, return_inverse=True
        )
        squares = self.squares(index["source_ref"][rows[once]].tolist())
        domain_of, split_of = index["domain"][rows], index["split"][rows]
        for domain, split in sorted(set(zip(domain_of, split_of, strict=True))):
            here = (domain_of == domain) & (split_of == split)
            mine = rows[here]
            batch = Batch(
                squares[of_each[here]],
                index["label"][mine],
                index["source_id"][mine],
                str(split),
                self.what.n_classes,
            )
            out[here] = self.domain(str(domain)).render(batch)
        return out


def resize(images: list[np.ndarray], size: int, fit: str = "crop") -> np.ndarray:
    """uint8 images (h, w, c) of any size to one array (n, size, size, c), bilinear, antialiased.

    ``fit``: as in :class:`ImageFormat`. Raises KdpipeError when grey and colour are mixed.
    """
    if not images:
        return np.empty((0, size, size, 3), dtype=np.uint8)
    if len({image.shape[2] for image in images}) > 1:
        raise KdpipeError("The source mixes images of one and of three channels.")
    if len({image.shape for image in images}) == 1:
        return _one_shape(np.stack(images), size, fit)
    return np.concatenate([_one_shape(image[None], size, fit) for image in images])


def _one_shape(batch: np.ndarray, size: int, fit: str) -> np.ndarray:
    import torch
    import torch.nn.functional as F

    from kdpipe.data.images import centre

    h, w = batch.shape[1:3]
    short = min(h, w)
    target = (size, size) if fit == "stretch" else (size * h // short, size * w // short)
    x = torch.from_numpy(batch).permute(0, 3, 1, 2)
    if target != (h, w):
        # torch shrinks 8-bit images faster than floats; what enlarges keeps the exact values.
        exact = x if max(target) < max(h, w) else x.float()
        x = F.interpolate(exact, target, mode="bilinear", antialias=True)
    if x.is_floating_point():
        x = x.round().clamp(0, 255).to(torch.uint8)
    return np.ascontiguousarray(centre(x, size).permute(0, 2, 3, 1).numpy())
