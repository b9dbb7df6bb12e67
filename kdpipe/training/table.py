"""A table of teacher outputs on disk: a safetensors file that is written piece by piece.

The library writes a file in one go, from memory; a table may be larger than that.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

KINDS = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16", torch.float64: "F64"}
TOO_LARGE = "too_large"
"""Metadata of a file without tensors, written instead of a table that would exceed the limit."""

Shapes = Mapping[str, tuple[tuple[int, ...], torch.dtype]]


def size_of(shapes: Shapes) -> int:
    """Bytes of a table with these tensors."""
    return sum(math.prod(shape) * dtype.itemsize for shape, dtype in shapes.values())


def create(path: Path, shapes: Shapes) -> dict[str, Tensor]:
    """A new file of zeros, and its tensors, mapped into memory: writing to them fills the file.

    Format: https://huggingface.co/docs/safetensors, "Format".
    """
    header: dict[str, Any] = {}
    start = 0
    for name, (shape, dtype) in shapes.items():
        stop = start + size_of({name: (shape, dtype)})
        header[name] = {"dtype": KINDS[dtype], "shape": shape, "data_offsets": [start, stop]}
        start = stop
    text = json.dumps(header).encode()
    text += b" " * (-(8 + len(text)) % 64)  # so that the numbers are aligned
    before = 8 + len(text)
    with open(path, "wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        stream.truncate(before + start)
    raw = torch.from_file(str(path), shared=True, size=before + start, dtype=torch.uint8)
    found = {}
    for name, (shape, dtype) in shapes.items():
        first, last = (before + at for at in header[name]["data_offsets"])
        found[name] = raw[first:last].view(dtype).view(shape)
    return found


def decline(path: Path, reason: str) -> None:
    """Write a file without tensors, with the reason why there is no table."""
    from safetensors.torch import save_file

    save_file({}, path, metadata={TOO_LARGE: reason})


def declined(path: Path) -> str | None:
    """Why ``path`` holds no table, or None where it does."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return (file.metadata() or {}).get(TOO_LARGE)
