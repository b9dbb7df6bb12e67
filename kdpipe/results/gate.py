"""Reads the gate's findings on the networks of a study, for the tables and the report."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from kdpipe.base.paths import NetworkRef, TeacherRef, gate_dir, gate_file


def folder_from(folder: str, first: int) -> str:
    """The folder for networks that a further look asked for, with seeds from ``first``."""
    return f"{folder}+{first}" if first else folder


def place(root: Path, ref: NetworkRef) -> Path:
    """The gate's file on a network, which may be missing: in the folder of all networks alike, or
    in one of those that a look asked for."""
    usual = root / gate_file(ref)
    if usual.is_file():
        return usual
    folder = root / gate_dir(ref)
    further = folder.parent.glob(f"{folder.name}+*/{usual.name}")
    return max(further, key=lambda path: path.stat().st_mtime_ns, default=usual)


def read(root: Path, refs: Iterable[TeacherRef]) -> dict[str, dict[str, Any]]:
    """Content of each network's gate file, by the network's path.

    ``root``: the study's results. Networks without a readable file are left out; that is no error.
    """
    found = {}
    for ref in (one for named in refs for one in named.members):
        try:
            found[ref.path] = json.loads(place(root, ref).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
    return found
