"""Times of change that survive a copy: of files whose content is as a job has left it.

Snakemake takes an input that is later than an output for another one, unless it is small and its
record holds a checksum. A copy without times (``cp -r``, a bucket) makes the order of times that
of the copying, and everything would run again. So every job notes when it wrote which content, and
before a workflow is planned, what is as it was written gets its time back. What really changed
keeps its later time and runs what depends on it.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kdpipe.base.errors import KdpipeError
from kdpipe.base.provenance import file_digest, write_json
from kdpipe.run import snakemake_metadata

if TYPE_CHECKING:
    from kdpipe.plan.plan import Plan

# Among the logs, because everything else of two equal runs is equal.
FOLDER = Path("logs/.times")


@dataclass(frozen=True)
class Written:
    """A file as its job left it."""

    size: int
    moment: int
    """Time of change in ns."""
    sha256: str


def note(root: Path, target: str) -> None:
    """Note the files of a job that has just made ``target`` in the study's folder ``root``."""
    files = {
        str(path.relative_to(root)): [
            path.stat().st_size,
            path.stat().st_mtime_ns,
            file_digest(path),
        ]
        for path in _files(root / target)
    }
    # The results are there: a full disk is no reason to lose them.
    with suppress(KdpipeError, OSError):
        write_json(note_of(root, target), files)


def restore(plan: Plan, root: str | Path) -> list[str]:
    """Give every output that is as its job left it the time of then.

    Unless Snakemake gave it another one itself (``--touch``). Returns paths relative to ``root``.
    A folder that cannot be written to stays as it is.
    """
    root = Path(root)
    done = []
    for job in plan.jobs.values():
        noted = _read(root, job.target) if any((root / p).exists() for p in job.outputs) else {}
        for output in job.outputs if noted else ():
            with suppress(OSError):
                if _restored(root, output, noted):
                    done.append(output)
    return done


def _restored(root: Path, output: str, noted: dict[str, Written]) -> bool:
    """Restore one output, a file or a folder. Raises OSError."""
    path = root / output
    written = {name: w for name, w in noted.items() if _inside(name, output)}
    if not written:
        return False
    moment = max(w.moment for w in written.values())
    # What Snakemake takes for the time of a folder.
    mark = path / snakemake_metadata.TIMESTAMP
    place = mark if mark.is_file() else path
    now = place.lstat()
    if now.st_mtime_ns == moment:
        return False
    record = snakemake_metadata.read(str(path))
    if record is not None and record.moment == now.st_mtime:
        return False
    if {str(file.relative_to(root)) for file in _files(path)} != written.keys():
        return False
    if not all(_is(root / name, w) for name, w in written.items()):
        return False
    os.utime(place, ns=(moment, moment), follow_symlinks=False)
    return True


def _inside(name: str, output: str) -> bool:
    return name == output or name.startswith(f"{output}/")


def _is(path: Path, written: Written) -> bool:
    """Whether a file holds what was written. It is read only if its time is another one."""
    about = path.stat()
    if about.st_size != written.size:
        return False
    return about.st_mtime_ns == written.moment or file_digest(path) == written.sha256


def _files(place: Path) -> list[Path]:
    """A file, or the files in a folder; none of hidden names."""
    if place.is_file():
        return [place]
    found = (path for path in place.rglob("*") if path.is_file())
    return sorted(p for p in found if not any(n[0] == "." for n in p.relative_to(place).parts))


def _read(root: Path, target: str) -> dict[str, Written]:
    try:
        raw = json.loads(note_of(root, target).read_text())
        return {name: Written(*written) for name, written in raw.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def note_of(root: Path, target: str) -> Path:
    """The file in which ``note`` writes."""
    return root / FOLDER / f"{target}.json"
