"""The subset on disk: an index (Parquet) and decoded pixels (one uint8 array, memory-mapped)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from kdpipe.errors import KdpipeError

INDEX_SCHEMA = pa.schema(
    [
        ("sample_id", pa.int64()),
        ("source_id", pa.int64()),
        ("source_ref", pa.string()),
        ("label", pa.int64()),
        ("class_name", pa.string()),
        ("domain", pa.string()),
        ("group", pa.string()),
        ("split", pa.string()),
        ("cue", pa.int64()),
    ]
)


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
        return json.loads(self._file("subset.json").read_text())

    @cached_property
    def index(self) -> dict[str, np.ndarray]:
        """Column name to array (n,)."""
        # ParquetFile, because read_table imports pyarrow.dataset and pandas.
        table = pq.ParquetFile(self._file("index.parquet")).read()
        return {c: table[c].to_numpy(zero_copy_only=False) for c in table.column_names}

    @cached_property
    def pixels(self) -> np.ndarray:
        """uint8 (n, height, width, channels), memory-mapped."""
        return np.load(self._file("pixels.npy"), mmap_mode="r")

    @property
    def classes(self) -> list[str]:
        return self.about["classes"]

    def images(self, rows: np.ndarray) -> Any:
        """The pixels of ``rows`` as a uint8 tensor (n, channels, height, width), channels last
        in memory."""
        import torch

        return torch.from_numpy(np.ascontiguousarray(self.pixels[rows])).permute(0, 3, 1, 2)

    def _file(self, name: str) -> Path:
        path = self.folder / name
        if not path.is_file():
            raise KdpipeError(f"{path} is missing; run the subset stage of this study first.")
        return path
