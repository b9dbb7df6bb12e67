"""Which job starts first: the one that most others depend on."""

from __future__ import annotations

from collections.abc import Mapping
from graphlib import TopologicalSorter

from kdpipe.plan.job import Job


def urgency(jobs: Mapping[str, Job]) -> dict[str, int]:
    """By target, the number of jobs that depend on it, directly or indirectly.

    A teacher comes before independent students, which only their own probes depend on. If it
    started last, processors would be idle until it ends.
    """
    maker = {path: job.target for job in jobs.values() for path in job.outputs}
    behind: dict[str, set[str]] = {target: set() for target in jobs}
    needs = {
        job.target: {maker[path] for path in (*job.inputs, *job.after)} for job in jobs.values()
    }
    for target in reversed([*TopologicalSorter(needs).static_order()]):
        for needed in needs[target]:
            behind[needed] |= {target, *behind[target]}
    return {target: len(waiting) for target, waiting in behind.items()}
