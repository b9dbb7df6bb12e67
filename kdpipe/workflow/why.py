"""Why a job would run: Snakemake's reasons, worked out from plain files, and put into words.

The decision is the one of ``snakemake -n`` on all results, without options that force or forbid
jobs: outputs that are missing or were left half made, inputs that are later and other than those
used, changed settings, code, inputs and commands; and what runs because another job runs.
"""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from kdpipe.base.errors import KdpipeError, some_of
from kdpipe.base.provenance import versions
from kdpipe.plan.digest import module_digests
from kdpipe.plan.job import Job
from kdpipe.plan.plan import Plan
from kdpipe.run import manifest, snakemake_metadata
from kdpipe.stages.order import COLLECTED, RESULTS
from kdpipe.workflow import changes
from kdpipe.workflow.added_options import only_added
from kdpipe.workflow.snakefile import command, parameters

MOST = 4
NO_REASON = "no reason to run: rerun_on_versions of the study is false"
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
        self._record = cache(snakemake_metadata.read)
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
        if any(
            self._exists(p) and snakemake_metadata.incomplete(self._name(p)) for p in job.outputs
        ):
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
        moment = min(map(snakemake_metadata.modified, outputs))
        for path in dict.fromkeys(job.inputs):
            file = self.root / path
            if not snakemake_metadata.later(file, moment):
                continue
            records = map(self._record, map(self._name, job.outputs))
            sums = {r.checksums[str(file)] for r in records if r and str(file) in r.checksums}
            if snakemake_metadata.differs(file, sums):
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
            other = record.settings is not None and now["slice"] not in (record.parameters or ())
            if other and not only_added(record.settings, job):
                yield from changes.settings(record.settings, job.settings.model_dump(mode="json"))
            if (record.versions is None) != ("versions" not in now):
                yield "rerun_on_versions of the study changed"
            elif record.versions is not None:
                own = {"kdpipe": versions().get("kdpipe", "")}
                yield from changes.versions({**record.versions, **own}, {**versions(), **own})

    def _changes(self, job: Job, record: snakemake_metadata.Record) -> Iterator[str]:
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
        self, job: Job, record: snakemake_metadata.Record, now: dict[str, str]
    ) -> Iterator[str]:
        said = False
        if record.settings is not None and now["slice"] not in (record.parameters or ()):
            said = True
            yield from changes.settings(record.settings, job.settings.model_dump(mode="json"))
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


# The answers of the command


def find(plan: Plan, name: str, root: Path) -> list[Job]:
    """The jobs behind a target of the workflow, a file, a folder, or a stage. ``root``: the study's
    folder, with which a name may begin.

    Raises KdpipeError, with what is near it, when there is none.
    """
    wanted = name.removeprefix(f"{root}/").strip("/")
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
    if job.stage in ("probe", "calibrate", "prepare"):
        *network, against, last = job.target.removeprefix("probes/").split("/")
        beside = f" beside {against[3:]}" if against.startswith("vs-") else ""
        return f"{job.stage} {last.partition('.')[0]} of {'/'.join(network)}{beside}"
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
