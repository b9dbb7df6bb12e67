"""The folder of an export, which a further export replaces as a whole."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kdpipe.base.errors import KdpipeError
from kdpipe.base.provenance import write_json

MARK = ".kdpipe-export.json"


@contextmanager
def replaced(place: Path, study: str) -> Iterator[Path]:
    """An empty folder to write into, which takes the place of ``place`` at the end.

    Raises KdpipeError for a folder that holds something else than an earlier export.
    """
    if (
        place.exists()
        and not (place / MARK).is_file()
        and (not place.is_dir() or any(place.iterdir()))
    ):
        raise KdpipeError(
            f"--out {place} holds something else than an export of kdpipe; name another folder."
        )
    place.parent.mkdir(parents=True, exist_ok=True)
    # With another name each time: MLflow remembers the stores of a process.
    fresh = Path(tempfile.mkdtemp(prefix=f".{place.name}.", dir=place.parent))
    fresh.chmod(0o777 & ~_umask())
    try:
        yield fresh
        write_json(fresh / MARK, {"study": study})
        shutil.rmtree(place, ignore_errors=True)
        fresh.rename(place)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _umask() -> int:
    """What new folders are not allowed to everybody; ``mkdtemp`` allows them to the owner alone."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
