"""What Snakemake noted of the jobs it ran, read from its own plain files.

One JSON file per output lies in ``.snakemake/metadata``, under the output's path in base64.
Nothing of Snakemake is imported: ``kdpipe why`` works without it.
"""

from __future__ import annotations

import ast
import base64
import hashlib
import json
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

FOLDER = Path(".snakemake")
LONGEST_NAME = 255
# Snakemake compares the content of smaller files, and of others only when they changed.
LARGEST_COMPARED = 1_000_000
TIMESTAMP = ".snakemake_timestamp"
_CODE = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True)
class Record:
    """How one output was made."""

    parameters: frozenset[str] | None
    inputs: list[str] | None
    command: str | None
    checksums: dict[str, str] = field(default_factory=dict)
    moment: float | None = None
    """Time of change of the output when its job was done."""

    @cached_property
    def settings(self) -> dict[str, Any] | None:
        found = [p for p in self.parameters or () if p.startswith("{") and '"python":' not in p]
        return json.loads(found[0]) if found else None

    @cached_property
    def code(self) -> str | None:
        return next((p for p in self.parameters or () if _CODE.fullmatch(p)), None)

    @cached_property
    def versions(self) -> dict[str, str] | None:
        found = [p for p in self.parameters or () if p.startswith("{") and '"python":' in p]
        return json.loads(found[0]) if found else None


def read(output: str) -> Record | None:
    """The record of an output, a path as the workflow has it; None where there is none."""
    try:
        raw = json.loads(path("metadata", output).read_text())
    except (OSError, ValueError):
        return None
    params = raw.get("params")
    return Record(
        None if params is None else frozenset(map(_value, params)),
        raw.get("input"),
        raw.get("code"),
        raw.get("input_checksums") or {},
        raw.get("endtime"),
    )


def incomplete(output: str) -> bool:
    """Whether the job that makes this output was begun and has not been finished."""
    return path("incomplete", output).is_file()


def later(path: Path, moment: float) -> bool:
    """Whether an input was made after ``moment``: it, or what it is a symbolic link to."""
    try:
        return modified(path) > moment or (path.is_symlink() and path.stat().st_mtime > moment)
    except OSError:
        return False


def differs(path: Path, checksums: set[str]) -> bool:
    """Whether an input is not known to be the one that was used, by the ``checksums`` noted."""
    if path.is_dir() or path.stat().st_size > LARGEST_COMPARED or len(checksums) != 1:
        return True
    algorithm, _, digest = next(iter(checksums)).partition(":")
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, algorithm).hexdigest() != digest


def modified(path: Path) -> float:
    """Time of change as Snakemake sees it. Raises OSError for a missing file."""
    mark = path / TIMESTAMP
    if path.is_dir() and not path.is_symlink() and mark.exists():
        return mark.stat().st_mtime
    return path.lstat().st_mtime


def path(kind: str, output: str) -> Path:
    name = base64.urlsafe_b64encode(output.encode()).decode()
    step = LONGEST_NAME - 1
    parts = [name[i : i + step] for i in range(0, len(name), step)]
    return FOLDER.joinpath(kind, *(f"@{part}" for part in parts[:-1]), parts[-1])


def _value(text: str) -> str:
    """A parameter from the ``repr`` that Snakemake keeps."""
    try:
        return str(ast.literal_eval(text))
    except (ValueError, SyntaxError):
        return text
