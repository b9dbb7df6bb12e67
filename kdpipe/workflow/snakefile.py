"""What the Snakefile asks of kdpipe: the plan of its configuration, and a ready environment."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdpipe.base import project
from kdpipe.base.errors import KdpipeError
from kdpipe.base.provenance import canonical, versions
from kdpipe.plan.job import Job
from kdpipe.plan.plan import Plan
from kdpipe.run import orphan
from kdpipe.study import includes
from kdpipe.study.schema import parse

if TYPE_CHECKING:
    from kdpipe.plan.estimate import Estimate

# glibc gives large buffers back to the kernel at every step and gets them anew, page fault by page
# fault: keeping them made a training step of the MNIST CNN 15 % shorter.
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": str(2**32), "MALLOC_TRIM_THRESHOLD_": str(2**33)}


def command(stage: str) -> str:
    """The shell command of a rule, for Snakemake to fill in.

    ``exec``, because Slurm signals every process of a step: when a shell in between died of it
    first, Snakemake would end, and with it the step, before a training has kept its checkpoint.

    The study's folder is a resource, because those are no part of what the between-workflow cache
    knows a job by: studies of other names share what is the same.
    """
    return (
        f"exec python -m kdpipe {stage} "
        "--root {resources.root} --out {resources.root}/{params.out} --slice {params.slice:q} "
        "--code {params.code} --attempt {resources.attempt} > {log} 2>&1"
    )


def parameters(plan: Plan, job: Job) -> dict[str, str]:
    """What Snakemake records of a job and compares: where it writes, settings, code.

    The versions of packages are among it if the study asks for it.
    """
    made = {"out": job.target, "slice": job.settings_json, "code": job.code}
    made["versions"] = canonical(versions())
    return {name: made[name] for name in parameter_names(plan)}


def parameter_names(plan: Plan) -> tuple[str, ...]:
    return ("out", "slice", "code", *(["versions"] if plan.study.rerun_on_versions else []))


# What "auto" became where the study was planned, for the Snakemake on a job's node, whose machine
# would answer otherwise.
PLANNED = "KDPIPE_PLANNED"
GROUPED = "KDPIPE_GROUPED"


DATA_OF = "KDPIPE_DATA_OF"
"""The process that told its jobs of a place of data, and for which study it did so first."""
BESIDE = ("data_root", "results_root", "pathvars")
"""Keys of Snakemake's configuration that are none of the study."""


def results_folder(config: Mapping[str, Any], usual: str = "results") -> str:
    """The folder of ``<study>/``: ``results_root`` of Snakemake's configuration, or ``usual``."""
    return os.path.normpath(str(config.get("results_root") or usual))


def open_plan(
    config: Mapping[str, Any],
    *,
    files: Iterable[str | Path] = (),
    on_node: bool = False,
) -> Plan:
    """Plan the study that Snakemake was given, and set up the environment of its jobs.

    ``files``: what ``config`` was read from, for its ``include`` is relative to one of them.
    ``on_node``: this Snakemake runs the jobs that another one submitted.

    Raises KdpipeError when the study is not valid.
    """
    raw = dict(config)
    if not raw:
        raise KdpipeError(
            "There is no study; name its file with --configfile, or where kdpipe is a module of "
            'another workflow, give the module \'config: {"include": "study.yaml"}\'.'
        )
    if includes.KEY in raw:
        raw = includes.resolved(raw, includes.home(files), "The study")
    beside = {key: raw.pop(key, None) for key in BESIDE}
    _tell_data_root(raw, beside["data_root"])
    # Jobs run with the Python that runs Snakemake, and find kdpipe wherever they start.
    _prepend("PATH", str(Path(sys.executable).parent))
    if folder := project.clone():
        _prepend("PYTHONPATH", str(folder))
    for variable, value in ALLOCATOR.items():
        os.environ.setdefault(variable, value)
    orphan.announce()
    study = parse(raw, "The study")
    if on_node:
        # Slurm's warning ahead of a time limit goes to every process of a step. It means the
        # trainings, which listen to it; Snakemake has to live to see how they end.
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        orphan.watch_step()
        if planned := _planned().get(study.study):
            wish = study.compute.model_copy(update=planned)
            return Plan(study.model_copy(update={"compute": wish}))
    plan = Plan(study)
    told = plan.compute.model_dump(mode="json", include={"device", "precision"})
    os.environ[PLANNED] = json.dumps({**_planned(), study.study: told})
    return plan


def _planned() -> dict[str, Any]:
    """By study, because a workflow may hold several."""
    return json.loads(os.environ.get(PLANNED) or "{}")


def _tell_data_root(raw: Mapping[str, Any], given: Any) -> None:
    """Let KDPIPE_DATA say where data lies: ``given``, what it says already, or the study's own.

    Where data lies is no part of a study's identity, so it travels as an environment variable,
    which is no rerun reason. Raises KdpipeError when another study of this workflow named another
    place.
    """
    data = raw.get("data")
    own = given or (data.get("root") if isinstance(data, dict) else None)
    before, me = os.environ.get("KDPIPE_DATA"), f"{os.getpid()} {raw.get('study')}"
    process, _, other = os.environ.get(DATA_OF, "").partition(" ")
    if own and process == str(os.getpid()) and f"{process} {other}" != me and str(own) != before:
        raise KdpipeError(
            f"The studies '{other}' and '{raw.get('study')}' of one workflow name different places "
            f"of data, {before} and {own}; put the data below one folder, its data_root."
        )
    if root := given or before or own:
        os.environ["KDPIPE_DATA"] = str(root)
        if process != str(os.getpid()):
            os.environ[DATA_OF] = me


def prefix_in_conda(folder: Path = Path(".snakemake")) -> str:
    """What a shell does first, for Snakemake to fill in, so that the Python of a conda environment
    finds kdpipe.

    Snakemake takes PYTHONPATH from jobs with such an environment, since packages for another Python
    break it. This one leads to kdpipe alone: a link below ``folder`` where kdpipe is installed.
    """
    place = shlex.quote(str(project.alone(folder))).replace("{", "{{").replace("}", "}}")
    # The first command is Snakemake's own, which a prefix replaces.
    return f"set -euo pipefail; export PYTHONPATH={place}${{{{PYTHONPATH:+:$PYTHONPATH}}}}; "


def let_waiting_jobs_decide() -> None:
    """Have Snakemake look for a job's own reasons to run also where it waits for one that runs.

    Snakemake 9.27 does not look at what comes after a job that runs, because that will run anyway.
    But what only waits for a job (``ancient``) does not: with the gate edited, an edited probe was
    left as it was, and the tables were made from its old records.
    """
    from snakemake.dag import DAG

    search = DAG.bfs

    def bfs(self: Any, direction: Any, *jobs: Any, **more: Any) -> Iterator[Any]:
        if direction is self.depending:
            direction = _Reached(direction)
        return search(self, direction, *jobs, **more)

    DAG.bfs = bfs


class _Reached:
    """Of each job those that run because it does: not those that wait for files that are there."""

    def __init__(self, depending: Any) -> None:
        self.depending = depending

    def __getitem__(self, job: Any) -> dict[Any, Any]:
        return {
            user: files
            for user, files in self.depending[job].items()
            if not all(file.is_ancient and os.path.exists(file) for file in files)
        }


@dataclass(frozen=True)
class Nothing:
    """What a job asks for where nobody sizes it: what Snakemake shows, and nothing more."""

    memory_mb: int = 4000
    minutes: int = 240


NOTHING = Nothing()


def estimate(plan: Plan) -> Estimate:
    """Sizes of the jobs of a plan that is submitted to a scheduler."""
    from kdpipe.plan.estimate import Estimate

    root = os.environ.get("KDPIPE_DATA")
    return Estimate(plan, Path(root) if root else None)


def small_trainings(plan: Plan, sizes: Estimate | None) -> bool:
    """Whether trainings are submitted in groups.

    Decided where jobs are submitted, and told to the Snakemake on a node, which has to see the
    same groups: names of studies, with spaces between them.
    """
    grouped = os.environ.get(GROUPED, "").split()
    if sizes is None:
        return plan.study.study in grouped
    others = [name for name in grouped if name != plan.study.study]
    own = [plan.study.study] if sizes.small_trainings else []
    os.environ[GROUPED] = " ".join([*others, *own])
    return sizes.small_trainings


def students_teach(plan: Plan) -> bool:
    """Whether a student teaches another one, or another one starts from it.

    Between the two stands a job of another kind, so that a group of both would wait for itself:
    Snakemake refuses such a group.
    """
    made = plan.by_stage("distil", "teacher_outputs")
    return any(path.startswith("students/") for job in made for path in job.inputs)


def training_retries(sizes: Estimate | None) -> int | None:
    """How often a training may be submitted again; None where --retries decides."""
    return None if sizes is None else max(need.retries for need in sizes.trainings)


def check_start(plan: Plan, root: str, on_node: bool) -> None:
    """Raise KdpipeError when the jobs of a plan cannot run or cannot write, before any does."""
    check_writable(root, plan.jobs)
    if not on_node:
        if plan.precision_reason:
            print(plan.precision_reason, file=sys.stderr, flush=True)
        from kdpipe.plan.check_networks import before_run

        before_run(plan, root, os.environ.get("KDPIPE_DATA"))


KEPT_BESIDE = ("", "logs", "benchmarks", ".checkpoints")
"""Folders below the results that jobs write to beside their targets."""


def check_writable(root: str | Path, targets: Iterable[str] = ()) -> None:
    """Raise KdpipeError when a folder that jobs write to cannot be written to, before any runs.

    ``targets``: what the jobs make, below ``root``. Only their own folders are looked at: results
    hold many more.
    """
    places = {_there(Path(root) / target) for target in (*KEPT_BESIDE, *targets)}
    for folder in sorted(places):
        if not os.access(folder, os.W_OK | os.X_OK):
            raise KdpipeError(
                f"{folder} cannot be written to; make it writable, or run where you may write."
            )


def _there(place: Path) -> Path:
    """The folder itself, or the nearest one above it that is there."""
    while not place.is_dir() and place != place.parent:
        place = place.parent
    return place


def _prepend(variable: str, folder: str) -> None:
    parts = os.environ.get(variable, "").split(os.pathsep)
    if folder not in parts:
        os.environ[variable] = os.pathsep.join(filter(None, [folder, *parts]))
