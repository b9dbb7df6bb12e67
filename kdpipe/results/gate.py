"""What the gate found in the networks of a study, for the tables and the report."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from kdpipe.base.paths import NetworkRef, gate_file


def read(root: Path, refs: Iterable[NetworkRef]) -> dict[str, dict[str, Any]]:
    """The gate's file of each network by the network's path.

    ``root``: the study's results. A network without a readable file is left out: nothing is known
    of it, which is no error.
    """
    found = {}
    for ref in refs:
        try:
            found[ref.path] = json.loads((root / gate_file(ref)).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
    return found
