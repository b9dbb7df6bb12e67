"""Keep results that an update of kdpipe would make anew, because a person trusts them.

What Snakemake recorded of their code is replaced by the code of now, so that the next true edit
runs what depends on it. Only code may differ: other settings or inputs are other results.
"""

from __future__ import annotations

import getpass
import json
import os
import platform
from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

from kdpipe.base.errors import KdpipeError
from kdpipe.base.provenance import versions, write_atomically, write_json
from kdpipe.plan.job import Job
from kdpipe.results import accepted
from kdpipe.run import manifest, snakemake_metadata
from kdpipe.workflow.snakefile import command, parameters
from kdpipe.workflow.why import Why, title

MOST = 3


def accept(why: Why, jobs: Iterable[Job]) -> list[Job]:
    """Record the code of now for those of ``jobs`` that other code made; returns them.

    Raises KdpipeError, and changes nothing, where outputs are missing, settings or inputs are
    others, a job was interrupted, or a Snakemake is running.
    """
    if any((snakemake_metadata.FOLDER / "locks").glob("*")):
        raise KdpipeError(
            "Snakemake is running in this folder, or was killed; wait for it, or call "
            "'snakemake --unlock', and accept then."
        )
    jobs = list(jobs)
    found = {job.target: _faults(why, job) for job in jobs}
    faults = [f"{title(job)}: {fault}" for job in jobs for fault in found[job.target]]
    if faults:
        more = f"; and {len(faults) - MOST} more" if len(faults) > MOST else ""
        broken = {job.stage for job in jobs if found[job.target]}
        whole = " ".join(dict.fromkeys(job.stage for job in jobs if job.stage not in broken))
        raise KdpipeError(
            f"These results cannot be accepted, because more than code is different. "
            f"{'; '.join(faults[:MOST])}{more}. Run what is named, or accept only other targets"
            f"{f', such as: {whole}' if whole else ''}."
        )
    other = [job for job in jobs if _is_other(why, job)]
    if other:
        known = accepted.read(why.root)
        entry = {
            "date": datetime.now().astimezone().isoformat(timespec="seconds"),
            "by": f"{_user()}@{platform.node()}",
            "versions": versions(),
            "jobs": {job.target: _about(why, job) for job in other},
        }
        for job in other:
            for output in job.outputs:
                _renew(why, job, f"{why.root}/{output}")
        manifest.write(why.plan, why.root)
        write_json(why.root / accepted.FILE, {"accepted": [*known, entry]})
    return other


def summary(done: list[Job], asked: int) -> str:
    if not done:
        return f"Nothing to accept: none of {asked} jobs was made by other code."
    stages = Counter(job.stage for job in done)
    return (
        f"Accepted {len(done)} of {asked} jobs ("
        f"{', '.join(f'{count} {stage}' for stage, count in stages.items())}); "
        f"'snakemake -n' no longer runs them for their code."
    )


def _faults(why: Why, job: Job) -> list[str]:
    """What is different beside the code."""
    names = [f"{why.root}/{output}" for output in job.outputs]
    missing = [name for name in names if not Path(name).exists()]
    if missing:
        return [f"{missing[0]} is missing"]
    if any(map(snakemake_metadata.incomplete, names)):
        return ["it was interrupted"]
    return list(dict.fromkeys(why.beside_code(job)))


def _records(why: Why, job: Job) -> list[snakemake_metadata.Record]:
    found = (snakemake_metadata.read(f"{why.root}/{output}") for output in job.outputs)
    return [record for record in found if record is not None]


def _is_other(why: Why, job: Job) -> bool:
    now = frozenset(parameters(why.plan, job).values())
    return any(
        (record.parameters, record.command, record.inputs)
        != (now, command(job.stage), why.inputs(job))
        for record in _records(why, job)
    )


def _about(why: Why, job: Job) -> dict[str, Any]:
    """What ``accepted.json`` says of a job."""
    old = next((record.code for record in _records(why, job) if record.code), None)
    path = why.root / job.outputs[0]
    return {
        "code": [old, job.code],
        "output": job.outputs[0],
        "moment": path.lstat().st_mtime_ns,
    }


def _renew(why: Why, job: Job, name: str) -> None:
    """Let Snakemake's record of an output say the code, command and inputs of now."""
    path = snakemake_metadata.path("metadata", name)
    if not path.is_file():
        return  # Snakemake has nothing to compare with
    raw = json.loads(path.read_text())
    raw["params"] = sorted(map(repr, parameters(why.plan, job).values()))
    raw["code"] = command(job.stage)
    raw["input"] = why.inputs(job)
    text = json.dumps(raw)
    write_atomically(path, lambda p: p.write_text(text))


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # an account without a name
        return str(os.getuid())
