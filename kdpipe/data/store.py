"""The subset on disk: an index (Parquet), and either decoded pixels (one uint8 array,
memory-mapped) or what decodes them when they are needed."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq

from kdpipe.base.columns import INTEGER, TEXT, Column, Table
from kdpipe.base.errors import KdpipeError

if TYPE_CHECKING:
    from torch import Tensor

    from kdpipe.data.lazy import LazyPixels
    from kdpipe.data.render import Renderer

# Images decoded on the fly are kept in memory when a job asks for no more than these bytes of
# them: a probe looks at its images several times, a training does so in every epoch.
HELD = 2 * 10**9

# fmt: off
INDEX = Table(
    "subset/<set>/index",
    description="One row per image of a data set. Row r describes `pixels[r]`.",
    columns=(
        Column("sample_id", INTEGER, "", "Number of the row."),
        Column(
            "source_id", INTEGER, "", "Number of the source image: all domain versions of an image "
            "share it, and with it their split."),
        Column("source_ref", TEXT, "", "The source's name of the image, such as its path."),
        Column("label", INTEGER, "", "Number of the class."),
        Column("class_name", TEXT, "", "Name of the class."),
        Column("domain", TEXT, "", "Domain that the image is rendered in."),
        Column("group", TEXT, "", "Group of the image, such as a race; its class in the source if "
            "the source has no groups."),
        Column("split", TEXT, "", "`train`, `val` or `test`."),
        Column("cue", INTEGER, "", "Class that a misleading cue points at; −1 for none."),
    ),
)
# fmt: on


@dataclass(frozen=True)
class Subset:
    """A subset that the subset stage wrote.

    Row r of ``index`` describes ``pixels[r]``; ``sample_id`` equals r. ``source_id`` numbers the
    source image: all domain versions of one image share it, and with it their split. ``cue`` is
    the class that a misleading cue points at, or -1.
    """

    folder: Path

    @cached_property
    def about(self) -> dict[str, Any]:
        """``subset.json``: classes, domains, counts, and what the subset was made from."""
        return json.loads(self._file("subset.json").read_text())

    @cached_property
    def index(self) -> dict[str, np.ndarray]:
        """Column name to array (n,)."""
        # ParquetFile, because read_table imports pyarrow.dataset and pandas.
        table = pq.ParquetFile(self._file("index.parquet")).read()
        return {c: table[c].to_numpy(zero_copy_only=False) for c in table.column_names}

    @cached_property
    def pixels(self) -> np.ndarray:
        """uint8 (n, edge, edge, 3), memory-mapped; of no image where they are decoded on the fly.

        ``edge``: height and width as kept, ``size`` or more.
        """
        return np.load(self._file("pixels.npy"), mmap_mode="r")

    @property
    def classes(self) -> list[str]:
        """Class names; label k is the k-th."""
        return self.about["classes"]

    @property
    def stored(self) -> bool:
        """Whether the images were decoded in advance."""
        return "rendering" not in self.about or self.about["decode"] == "store"

    @property
    def edge(self) -> int:
        """Height and width of the images as they are kept."""
        return int(self.pixels.shape[1])

    @property
    def size(self) -> int:
        """Height and width of what networks see."""
        return int(self.about.get("size", self.edge))

    @cached_property
    def renderer(self) -> Renderer:
        """Decodes images on the fly, from where KDPIPE_DATA says that the data lies now."""
        from kdpipe.data.render import Renderer, Rendering

        root = os.environ.get("KDPIPE_DATA")
        return Renderer(Rendering(**self.about["rendering"]), Path(root) if root else None)

    def images(self, rows: np.ndarray) -> Any:
        """What networks see of ``rows``: a uint8 tensor (n, channels, height, width), channels
        last in memory."""
        return self.access(rows, "cpu")[0][:]

    def access(self, rows: np.ndarray, device: str) -> tuple[Any, Any]:
        """The images of ``rows`` on the device, (n, 3, size, size), and as they are kept, (n, 3,
        edge, edge), of which the former are the middle.

        Tensors where the images are stored or few enough to be held; else LazyPixels.
        """
        from kdpipe.data.images import centre

        whole = self._kept(rows, device)
        if self.size >= self.edge:
            return whole, whole
        if self.stored or len(rows) * self.edge**2 * 3 <= HELD:
            return centre(whole, self.size), whole
        return self._lazy(rows, device, self.size), whole

    def _kept(self, rows: np.ndarray, device: str) -> Tensor | LazyPixels:
        import torch

        if self.stored:
            chosen = np.ascontiguousarray(self.pixels[rows])
            return torch.from_numpy(chosen).permute(0, 3, 1, 2).to(device)
        lazy = self._lazy(rows, device, self.edge)
        if len(rows) * self.edge**2 * 3 > HELD:
            return lazy
        held = torch.empty((len(rows), self.edge, self.edge, 3), dtype=torch.uint8, device=device)
        start = 0
        for part in lazy.split(256):
            held[start : start + len(part)] = part.permute(0, 2, 3, 1)
            start += len(part)
        return held.permute(0, 3, 1, 2)

    def _lazy(self, rows: np.ndarray, device: str, size: int) -> LazyPixels:
        from kdpipe.data.lazy import LazyPixels

        return LazyPixels(self.renderer, self.index, rows, device, size)

    def _file(self, name: str) -> Path:
        path = self.folder / name
        if not path.is_file():
            raise KdpipeError(f"{path} is missing; run the subset stage of this study first.")
        return path
