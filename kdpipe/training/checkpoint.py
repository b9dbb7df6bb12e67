"""A training interrupted at any moment goes on from here to the same bytes."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch

from kdpipe.provenance import write_atomically

CHECKPOINT_SECONDS = 120.0


class Checkpoint:
    """State of one training, written between epochs when enough time has passed.

    ``path`` lies outside a rule's outputs, which Snakemake deletes when a job fails, and its name
    is the digest of everything that determines the training: a checkpoint of other settings is
    never found. A path of None keeps nothing.
    """

    def __init__(self, path: Path | None, seconds: float = CHECKPOINT_SECONDS) -> None:
        self.path = path
        self.seconds = seconds
        self._last = time.monotonic()

    def load(self) -> dict[str, Any] | None:
        """The saved state, or None; an unreadable file counts as none and is removed."""
        if self.path is None or not self.path.exists():
            return None
        try:
            return torch.load(self.path, weights_only=True)
        except Exception as error:  # torch raises whatever unzipping and unpickling raise
            print(f"The checkpoint {self.path} cannot be read ({error}); starting again.")
            self.path.unlink(missing_ok=True)
            return None

    def due(self) -> bool:
        return self.path is not None and time.monotonic() - self._last >= self.seconds

    def save(self, state: dict[str, Any]) -> None:
        """Write ``state`` so that the path holds either the old or the new state, never half."""
        if self.path is None:
            return
        write_atomically(self.path, lambda path: torch.save(state, path))
        self._last = time.monotonic()

    def remove(self) -> None:
        if self.path is not None:
            self.path.unlink(missing_ok=True)
