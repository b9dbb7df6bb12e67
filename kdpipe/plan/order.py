"""An order in which the jobs of a study can run one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from kdpipe.plan.job import Job


class Order:
    """Gives jobs when they are to run, and each of them once.

    Stages follow each other, but a student that teaches another is distilled, and asked for its
    outputs, before that one.
    """

    def __init__(self) -> None:
        self._given: set[str] = set()

    def of(self, jobs: Mapping[str, Job], wanted: Iterable[Job]) -> Iterator[Job]:
        """The ``wanted`` jobs, each behind those of ``jobs`` that it needs."""
        makers = {path: job for job in jobs.values() for path in job.outputs}
        for job in wanted:
            yield from self._up_to(job, makers)

    def _up_to(self, job: Job, makers: Mapping[str, Job]) -> Iterator[Job]:
        if job.target in self._given:
            return
        self._given.add(job.target)
        for path in (*job.inputs, *job.after):
            if path in makers:
                yield from self._up_to(makers[path], makers)
        yield job
