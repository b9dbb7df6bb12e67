"""Reads ``accepted.json``: results that a person kept after an update of kdpipe."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from kdpipe.base.errors import KdpipeError

FILE = "accepted.json"


def read(root: Path) -> list[dict[str, Any]]:
    """Every acceptance, oldest first: who, when, which version, and the old and new code digest of
    each job.

    Raises KdpipeError when the file cannot be read.
    """
    path = root / FILE
    if not path.exists():
        return []
    try:
        found = json.loads(path.read_text())["accepted"]
        return [entry for entry in found if isinstance(entry["jobs"], dict)]
    except (OSError, ValueError, TypeError, KeyError):
        raise KdpipeError(
            f"{path} is damaged; put it back as it was, or remove it if nobody has to know what "
            f"was accepted."
        ) from None


def still_there(root: Path) -> list[str]:
    """Targets of jobs whose outputs have the modification time of their acceptance."""
    found: dict[str, bool] = {}
    for entry in read(root):
        for target, about in entry["jobs"].items():
            found[target] = _same(root / about["output"], about["moment"])
    return [target for target, same in found.items() if same]


def _same(path: Path, moment: int) -> bool:
    try:
        return path.lstat().st_mtime_ns == moment
    except OSError:
        return False


def warnings(root: Path) -> list[str]:
    """A warning for the report if earlier code made some of its results."""
    targets = still_there(root)
    if not targets:
        return []
    jobs = "1 job was" if len(targets) == 1 else f"{len(targets)} jobs were"
    return [
        f"Results of {jobs} made by an earlier version of the code and accepted as they are; "
        f"{FILE} beside this report says by whom and when."
    ]
