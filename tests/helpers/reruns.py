"""Which jobs an edit of a study starts, from the plans before and after it."""

from __future__ import annotations

from collections import Counter
from typing import Any

from kdpipe.plan.plan import Job, Plan
from kdpipe.study.schema import parse


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """``over`` laid over ``base``, key by key; lists are replaced."""
    both = {**base, **over}
    for key in base.keys() & over.keys():
        if isinstance(base[key], dict) and isinstance(over[key], dict):
            both[key] = merged(base[key], over[key])
    return both


def rerun(before: dict[str, Any], after: dict[str, Any]) -> Counter[str]:
    """Jobs by stage that run after the edit: new ones, changed ones, and what reads their files.

    The plan lists every job after those whose files it reads.
    """
    old = Plan(parse(before)).jobs
    made: set[str] = set()
    stages: Counter[str] = Counter()
    for target, job in Plan(parse(after)).jobs.items():
        if identity(old.get(target)) != identity(job) or made & set(job.inputs):
            stages[job.stage] += 1
            made |= {target, *job.outputs}
    return stages


def identity(job: Job | None) -> tuple[str, str, tuple[str, ...]] | None:
    return None if job is None else (job.settings_json, job.code, job.inputs)
