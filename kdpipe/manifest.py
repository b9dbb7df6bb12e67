"""Which version of which file a digest of code stands for, so that a change can be named.

A run of a study leaves one small file for each digest of its plan in ``results/<study>/.code/``.
Nothing is computed from them: they are for ``kdpipe why`` alone.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from kdpipe.digest import module_digests
from kdpipe.errors import PassingError
from kdpipe.plan import Plan
from kdpipe.provenance import write_json

FOLDER = ".code"


def write(plan: Plan, root: str | Path) -> None:
    """Note the files behind every digest of the plan that is not noted yet."""
    for job in {job.code: job for job in plan.jobs.values()}.values():
        path = _path(root, job.code)
        if not path.exists():
            # A folder that cannot be written to is for the jobs to complain about.
            with suppress(PassingError):
                write_json(path, module_digests(job.modules))


def read(root: str | Path, code: str) -> dict[str, str] | None:
    """Module to digest, or None where nothing was noted."""
    try:
        return json.loads(_path(root, code).read_text())
    except (OSError, ValueError):
        return None


def _path(root: str | Path, code: str) -> Path:
    return Path(root) / FOLDER / f"{code}.json"
