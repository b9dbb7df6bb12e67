"""What a run leaves beside its results for those who look at them later.

The study as it ran, in ``results/<study>/study.yaml``. And which version of which file a digest of
code stands for, so that a change can be named: one small file for each digest of the plan in
``results/<study>/.code/``. Nothing is computed from either.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from kdpipe.base import provenance
from kdpipe.base.errors import PassingError
from kdpipe.base.plugin import STUDY_FILE
from kdpipe.base.provenance import write_atomically, write_json
from kdpipe.plan.digest import module_digests
from kdpipe.plan.plan import Plan

FOLDER = ".code"
STUDY = "study.yaml"


def study_file(plan: Plan) -> str:
    """The study as a file that runs by itself: with what it includes and with every default."""
    import yaml

    study = plan.whole.model_dump(mode="json", context=STUDY_FILE)
    head = (
        "# The study as it ran, complete: what it includes, what the command line changed and all\n"
        "# defaults are written out. Run it again:\n"
        f"#   snakemake --cores 2 --configfile results/{plan.study.study}/{STUDY}\n"
    )
    return head + yaml.safe_dump(study, sort_keys=False, allow_unicode=True, width=100)


def keep_study(plan: Plan, root: str | Path) -> None:
    """Write the study beside its results. Raises PassingError when that cannot be."""
    text = study_file(plan)
    write_atomically(Path(root) / STUDY, lambda path: path.write_text(text, encoding="utf-8"))


def write(plan: Plan, root: str | Path) -> None:
    """Note the files behind every digest of the plan that is not noted yet."""
    for job in {job.code: job for job in plan.jobs.values()}.values():
        path = _path(root, job.code)
        if not path.exists():
            # A folder that cannot be written to is for the jobs to complain about.
            with suppress(PassingError):
                write_json(path, module_digests(job.modules))


def remove_half_written(root: str | Path) -> None:
    """Remove what a run that was killed left of the files of this module. At a run's start."""
    for written in (Path(root) / STUDY, Path(root) / FOLDER):
        provenance.remove_half_written(written)


def read(root: str | Path, code: str) -> dict[str, str] | None:
    """Module to digest, or None where nothing was noted."""
    try:
        return json.loads(_path(root, code).read_text())
    except (OSError, ValueError):
        return None


def _path(root: str | Path, code: str) -> Path:
    return Path(root) / FOLDER / f"{code}.json"
