"""The answers of ``kdpipe why``: for one target, or for everything that would run."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from kdpipe.base.errors import KdpipeError
from kdpipe.base.provenance import versions
from kdpipe.plan.job import Job
from kdpipe.plan.plan import Plan
from kdpipe.stages.order import COLLECTED
from kdpipe.workflow import changes
from kdpipe.workflow.why import Why

MOST = 4
NO_REASON = "no reason to run: rerun_on_versions of the study is false"


def find(plan: Plan, name: str) -> list[Job]:
    """The jobs behind a target of the workflow, a file, a folder, or a stage.

    Raises KdpipeError, with what is near it, when there is none.
    """
    wanted = name.removeprefix(f"results/{plan.study.study}/").strip("/")
    if wanted in plan.jobs:
        return [plan.jobs[wanted]]
    stage = COLLECTED.get(wanted, wanted)
    found = plan.by_stage(stage) or [
        job
        for job in plan.jobs.values()
        if wanted in job.outputs
        or job.target.startswith(f"{wanted}/")
        or wanted.startswith(f"{job.target}/")
    ]
    if found:
        return found
    near = get_close_matches(wanted, plan.jobs, n=3, cutoff=0.4)
    hint = f"; did you mean {' or '.join(near)}?" if near else "; 'kdpipe jobs' lists all targets."
    raise KdpipeError(f"Study '{plan.study.study}' has no job that makes '{name}'{hint}")


def explain(why: Why, job: Job) -> Iterator[str]:
    """Whether and why one job would run: a headline, and a line for each reason."""
    if job.target not in why.running:
        yield f"{title(job)} would not run: {why.rest(job)}."
    else:
        yield f"{title(job)} would run:"
        reasons = why.running[job.target]
        yield from (f"  {words}" for words in shortened(reasons.own))
        if reasons.needed_by is not None:
            yield f"  {title(reasons.needed_by)} would run and needs it"
        yield from (f"  {line}" for line in shortened(_upstream(why, job)))
    if found := changes.versions(made_with(why.root, job) or versions(), versions()):
        note = "" if why.plan.study.rerun_on_versions else f" ({NO_REASON})"
        yield f"  made with other versions: {', '.join(found)}{note}"


def summary(why: Why) -> Iterator[str]:
    """Everything that would run, by cause."""
    running = [why.plan.jobs[target] for target in why.running]
    yield f"{len(running)} of {len(why.plan.jobs)} jobs would run."
    causes: dict[str, list[Job]] = {}
    for job in running:
        for words in why.running[job.target].own:
            causes.setdefault(words, []).append(job)
    for words, jobs in causes.items():
        yield f"  {words}: {_counted(jobs)}"
    if after := [job for job in running if not why.running[job.target].own]:
        yield f"  after these: {_counted(after)}"
    yield from _other_versions(why)


def _upstream(why: Why, job: Job) -> list[str]:
    """A line for each cause further up, however many jobs have it."""
    causes: dict[str, list[Job]] = {}
    for root in why.roots(job):
        for words in why.running[root.target].own:
            causes.setdefault(words, []).append(root)
    return [f"after {_named(jobs)}: {words}" for words, jobs in causes.items()]


def _other_versions(why: Why) -> Iterator[str]:
    now, found = versions(), Counter[str]()
    for job in why.plan.jobs.values():
        if job.stage in ("subset", "train", "distil", "calibrate"):
            found.update(changes.versions(made_with(why.root, job) or now, now))
    note = "" if why.plan.study.rerun_on_versions else f"; {NO_REASON}"
    for words, count in found.items():
        yield f"  {words}, says the provenance of {count} artefacts{note}"


def made_with(root: Path, job: Job) -> dict[str, str] | None:
    """The versions in the provenance of what a job made; None where it keeps none."""
    for path in (root / output for output in job.outputs):
        about: Any = None
        try:
            if path.suffix == ".json":
                about = json.loads(path.read_text())
            elif job.stage == "probe":
                from kdpipe.probes.shared.records import read_records

                about = read_records(next(path.glob("*.parquet")))[1]
        except (OSError, ValueError, StopIteration):
            continue
        if isinstance(about, dict) and "provenance" in about:
            return about["provenance"].get("versions")
    return None


def title(job: Job) -> str:
    """A job as a person would call it."""
    if job.stage in ("probe", "calibrate"):
        *network, against, last = job.target.removeprefix("probes/").split("/")
        beside = "" if job.stage == "calibrate" or against == "unary" else f" beside {against[3:]}"
        return f"{job.stage} {last.removesuffix('.json')} of {'/'.join(network)}{beside}"
    return job.stage if job.target.partition(".")[0] == job.stage else f"{job.stage} {job.target}"


def _named(jobs: list[Job]) -> str:
    return title(jobs[0]) + (f" and {len(jobs) - 1} more" if len(jobs) > 1 else "")


def _counted(jobs: list[Job]) -> str:
    if len(jobs) == 1:
        return title(jobs[0])
    return ", ".join(f"{count} {stage}" for stage, count in Counter(j.stage for j in jobs).items())


def shortened(lines: list[str]) -> list[str]:
    if len(lines) <= MOST + 1:
        return lines
    return [*lines[:MOST], f"and {len(lines) - MOST} more reasons"]
