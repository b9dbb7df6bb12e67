"""What travels with every artefact: versions, seeds and digests; never a time or a path."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from kdpipe.base.errors import PassingError

PACKAGES = (
    "kdpipe",
    "torch",
    "torchvision",
    "numpy",
    "pyarrow",
    "grad-cam",
    "scipy",
    "scikit-learn",
    "timm",
    "transformers",
)


@cache
def versions() -> dict[str, str]:
    """Versions of what can change a number, without importing any of it."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def canonical(value: Any) -> str:
    """One string per value, to compare by: sorted keys, no spaces; NaN is refused.

    Nothing may be read back from it, because the order of classes, maps and methods is lost.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def in_order(value: Any) -> str:
    """``value`` as one line of JSON whose mappings keep their order; NaN is refused."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def provenance(settings: Any, inputs: dict[str, Path]) -> dict[str, Any]:
    """What an artefact was made from: settings, input digests, versions."""
    said = settings.model_dump(mode="json")
    return {
        "settings": said,
        "settings_sha256": hashlib.sha256(in_order(said).encode()).hexdigest(),
        "inputs": {name: file_digest(path) for name, path in sorted(inputs.items())},
        "versions": versions(),
    }


def write_atomically(path: Path, write: Callable[[Path], Any]) -> None:
    """Call ``write`` on a temporary name beside ``path``, then rename it into place.

    The bytes are on disk before the name is, so that not even a power cut leaves half a file.
    Raises PassingError when the disk is full or the folder cannot be written to.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # safetensors gives its files to their owner alone; a shared folder is for a group.
        temporary.touch()
        mode = temporary.stat().st_mode & 0o777
        write(temporary)
        temporary.chmod(mode)
        sync(temporary)
        os.replace(temporary, path)
        sync(path.parent)
    except Exception as error:
        if (reason := failed_write(error)) is None:
            raise
        raise PassingError(
            f"{path} cannot be written: {reason}; make room or the folder writable, then run again."
        ) from None
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def remove_half_written(path: Path) -> None:
    """Remove what killed processes left of writing the file ``path``, or files in the folder.

    Only where nobody else writes them now: under the lock of the target, or at a run's start.
    """
    for left in [*path.parent.glob(f".{path.name}.*.tmp"), *path.glob(".*.tmp")]:
        with suppress(OSError):
            left.unlink()


def sync(path: Path) -> None:
    """Have the system write a file, or the names in a folder, to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def failed_write(error: BaseException) -> str | None:
    """Why the system refused to write, or None for an error of another kind."""
    if isinstance(error, OSError):
        return os.strerror(error.errno) if error.errno else str(error)
    # safetensors, written in Rust, has an exception of its own for it.
    found = re.search(r"(?:I/O error: )?([^:]*) \(os error \d+\)", str(error))
    return found and found[1].strip()


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as JSON whose mappings keep their order: options are read back from it."""
    text = json.dumps(value, indent=1, allow_nan=False) + "\n"
    write_atomically(path, lambda p: p.write_text(text))
