"""The contract of a stage, as types."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from kdpipe.base.options import Options


@dataclass(frozen=True)
class Call:
    """Where one call of a stage works; nothing here changes what it computes."""

    root: Path
    """The study's folder of results, below which the inputs lie."""
    out: Path
    """The file or folder to make."""
    code: str = ""
    """Digest of the code, part of a checkpoint's name; without it no checkpoint is kept."""
    data_root: Path | None = None
    """The folder of data on disk."""


Settings = TypeVar("Settings", bound=Options)


@dataclass(frozen=True)
class Stage(Generic[Settings]):
    """A stage: the model of its settings and the function that does the work."""

    settings: type[Settings]
    run: Callable[[Settings, Call], None]
