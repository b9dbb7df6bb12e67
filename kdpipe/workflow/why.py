"""Why a job would run: Snakemake's reasons, worked out from plain files and put into words.

The decision is the one of ``snakemake -n`` on all results, without options that force or forbid
jobs: outputs that are missing or were left half made, inputs that are later and other than those
used, changed settings, code, inputs and commands; and what runs because another job runs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path

from kdpipe.base.errors import some_of
from kdpipe.base.provenance import versions
from kdpipe.plan.digest import module_digests
from kdpipe.plan.job import Job
from kdpipe.plan.plan import Plan
from kdpipe.run import manifest, recorded
from kdpipe.stages.order import RESULTS
from kdpipe.workflow import changes
from kdpipe.workflow.added_options import only_added
from kdpipe.workflow.rules import command, parameters

IMPORTS = "its modules import other parts of one another"
UNNAMED = "its code changed, and which file was not noted"


@dataclass
class Reasons:
    """Why one job runs."""

    own: list[str] = field(default_factory=list)
    """Sentences about the job itself."""
    after: list[Job] = field(default_factory=list)
    """Jobs that run and make its inputs."""
    needed_by: Job | None = None
    """A job that runs and lacks one of its outputs."""


class Why:
    """What would run of a plan whose results lie in ``results/<study>``, and why."""

    def __init__(self, plan: Plan, results: Path = Path("results")) -> None:
        self.plan = plan
        self.root = results / plan.study.study
        self.makers = {path: job for job in plan.jobs.values() for path in job.outputs}
        self.users: dict[str, list[Job]] = {}
        for job in plan.jobs.values():
            for maker in self.before(job):
                self.users.setdefault(maker.target, []).append(job)
        self._record = cache(recorded.read)
        self.running = self._decide()

    def before(self, job: Job) -> list[Job]:
        """The jobs that make the inputs of ``job``, or that it waits for."""
        paths = (*job.inputs, *job.after)
        found = {self.makers[path].target: self.makers[path] for path in paths}
        return list(found.values())

    def rest(self, job: Job) -> str:
        """Why a job does not run."""
        if not all(map(self._exists, job.outputs)):
            return "nothing that runs needs what is missing of its outputs"
        if not all(self._record(self._name(path)) for path in job.outputs):
            return (
                "its outputs are there, but Snakemake did not make them here and notices no change "
                "of settings or code"
            )
        return "settings, code and inputs are those it was made with"

    def roots(self, job: Job) -> list[Job]:
        """The jobs with reasons of their own that ``job`` runs after, nearest first."""
        found, waiting, seen = [], deque([job]), {job.target}
        while waiting:
            for maker in self.running[waiting.popleft().target].after:
                if maker.target not in seen:
                    seen.add(maker.target)
                    waiting.append(maker)
                    if self.running[maker.target].own:
                        found.append(maker)
        return found

    def _decide(self) -> dict[str, Reasons]:
        """Target of each job that runs to its reasons, in the order of the plan's inputs."""
        running: dict[str, Reasons] = {}
        own = {job.target: list(self._own(job)) for job in self.plan.jobs.values()}
        waiting = deque(job for job in self._ordered if own[job.target])
        for job in waiting:
            running[job.target] = Reasons(own[job.target])
        while waiting:
            job = waiting.popleft()
            for maker in self.before(job):
                needed = (*job.inputs, *job.after)
                lacking = [p for p in needed if p in maker.outputs and not self._exists(p)]
                if lacking and maker.target not in running:
                    words = [self._lacking(maker)]
                    running[maker.target] = Reasons(words, needed_by=job)
                    waiting.append(maker)
            for user in self.users.get(job.target, []):
                if user.target not in running:
                    if not {*job.outputs} & {*user.inputs} and all(map(self._exists, job.outputs)):
                        continue  # it only waits for what is there
                    running[user.target] = Reasons()
                    waiting.append(user)
                running[user.target].after.append(job)
        return {job.target: running[job.target] for job in self._ordered if job.target in running}

    @cached_property
    def _ordered(self) -> list[Job]:
        """Every job after those that make its inputs."""
        from graphlib import TopologicalSorter

        graph = {t: [m.target for m in self.before(j)] for t, j in self.plan.jobs.items()}
        return [self.plan.jobs[target] for target in TopologicalSorter(graph).static_order()]

    def _exists(self, output: str) -> bool:
        return (self.root / output).exists()

    def _name(self, path: str) -> str:
        """A path as the workflow has it."""
        return f"{self.root}/{path}"

    def _lacking(self, job: Job) -> str:
        missing = [path for path in job.outputs if not self._exists(path)]
        if len(missing) == len(job.outputs):
            ran = any(self._record(self._name(path)) for path in job.outputs)
            return "its outputs are missing" if ran else "it never ran"
        return f"{self._name(missing[0])} is missing"

    def _own(self, job: Job) -> Iterator[str]:
        """Reasons that lie in the job itself, its records and its files."""
        missing = not all(map(self._exists, job.outputs))
        if missing and job.stage in RESULTS:
            yield self._lacking(job)
            return
        if any(self._exists(p) and recorded.incomplete(self._name(p)) for p in job.outputs):
            yield "it was interrupted"
        yield from self._later_inputs(job)
        records = [self._record(self._name(path)) for path in job.outputs]
        known = [record for record in records if record is not None]
        if len(known) < len(records):
            return  # Snakemake did not make it, and has nothing to compare with
        said: dict[str, None] = {}
        for record in known:
            said.update(dict.fromkeys(self._changes(job, record)))
        yield from said

    def _later_inputs(self, job: Job) -> Iterator[str]:
        outputs = [self.root / path for path in job.outputs if self._exists(path)]
        for user in () if outputs else self.users.get(job.target, []):
            outputs += [self.root / path for path in user.outputs if self._exists(path)]
        stem = job.target.removesuffix(Path(job.target).suffix)
        benchmark = self.root / "benchmarks" / f"{stem}.tsv"
        if benchmark.exists():
            outputs.append(benchmark)
        if not outputs:
            return
        moment = min(map(recorded.modified, outputs))
        for path in dict.fromkeys(job.inputs):
            file = self.root / path
            if not recorded.later(file, moment):
                continue
            records = map(self._record, map(self._name, job.outputs))
            sums = {r.checksums[str(file)] for r in records if r and str(file) in r.checksums}
            if recorded.differs(file, sums):
                yield f"its input {file} was made anew"

    def inputs(self, job: Job) -> list[str]:
        """What a job reads or waits for, as Snakemake records it."""
        return sorted(map(self._name, {*job.inputs, *job.after}))

    def beside_code(self, job: Job) -> Iterator[str]:
        """What differs from when a job ran, apart from kdpipe: settings, inputs, versions.

        An option that kdpipe has since is no other setting as long as it has its default.
        """
        yield from self._later_inputs(job)
        now = parameters(self.plan, job)
        for record in filter(None, map(self._record, map(self._name, job.outputs))):
            other = record.slice is not None and now["slice"] not in (record.parameters or ())
            if other and not only_added(record.slice, job):
                yield from changes.settings(record.slice, job.slice.model_dump(mode="json"))
            if (record.versions is None) != ("versions" not in now):
                yield "rerun_on_versions of the study changed"
            elif record.versions is not None:
                own = {"kdpipe": versions().get("kdpipe", "")}
                yield from changes.versions({**record.versions, **own}, {**versions(), **own})

    def _changes(self, job: Job, record: recorded.Record) -> Iterator[str]:
        """What differs between now and when the output was made."""
        now = parameters(self.plan, job)
        if record.parameters is not None and record.parameters != frozenset(now.values()):
            yield from self._parameter_changes(job, record, now)
        inputs = self.inputs(job)
        if record.inputs is not None and record.inputs != inputs:
            new, old = set(inputs) - set(record.inputs), set(record.inputs) - set(inputs)
            if new:
                yield f"it reads {some_of(sorted(new), 2)} as well"
            if old:
                yield f"it no longer reads {some_of(sorted(old), 2)}"
        if record.command is not None and record.command != command(job.stage):
            yield "the command of its rule changed"

    def _parameter_changes(
        self, job: Job, record: recorded.Record, now: dict[str, str]
    ) -> Iterator[str]:
        said = False
        if record.slice is not None and now["slice"] not in (record.parameters or ()):
            said = True
            yield from changes.settings(record.slice, job.slice.model_dump(mode="json"))
        if record.code != job.code:
            said = True
            noted = manifest.read(self.root, record.code or "")
            current = module_digests(job.modules)
            named = changes.files(noted, current) if noted else [UNNAMED]
            yield from named or [IMPORTS]
        watched = "versions" in now
        if watched and record.versions is not None:
            found = changes.versions(record.versions, versions())
            said = said or bool(found)
            yield from found
        if watched != (record.versions is not None):
            said = True
            yield f"rerun_on_versions of the study is now {'true' if watched else 'false'}"
        if not said:
            yield "another version of kdpipe called it"
