"""Reads the gate's findings on the networks of a study, for the tables and the report."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from kdpipe.base.paths import NetworkRef, gate_file


def read(root: Path, refs: Iterable[NetworkRef]) -> dict[str, dict[str, Any]]:
    """Content of each network's gate file, by the network's path.

    ``root``: the study's results. Networks without a readable file are left out; that is no error.
    """
    found = {}
    for ref in refs:
        try:
            found[ref.path] = json.loads((root / gate_file(ref)).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
    return found
