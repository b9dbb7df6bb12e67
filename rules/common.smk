# Helpers of all rules. They read everything about a study from kdpipe's plan.
# Snakemake has put the folder of the Snakefile on Python's path, so that a clone needs no installation.
import os
from functools import cache
from pathlib import Path

from kdpipe.run import manifest, memory, times, warm
from kdpipe.workflow import sharing
from kdpipe.workflow.closing import closing
from kdpipe.base.errors import KdpipeError
from kdpipe.run.progress import Progress
from kdpipe.plan.plan import Plan
from kdpipe.plan.reached import taken
from kdpipe.plan.urgency import urgency
from kdpipe.stages.order import COLLECTED, RESULTS
from kdpipe.workflow.snakefile import (
    NOTHING,
    check_start,
    command,
    estimate,
    let_waiting_jobs_decide,
    open_plan,
    parameter_names,
    parameters,
    prefix_in_conda,
    results_folder,
    small_trainings,
    students_teach,
    training_retries,
)
from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

try:
    PLAN = open_plan(
        config,
        files=() if GUEST else workflow.configfiles,
        on_node=workflow.remote_exec,
    )
except KdpipeError as error:
    raise WorkflowError(str(error))

CONDA = "conda" in map(str, workflow.deployment_settings.deployment_method)
if CONDA:
    shell.prefix(prefix_in_conda())

# Slurm signals every process of a step, and the step ends with the shell that Slurm started. This
# shell must wait, or a training has no time for a checkpoint. (--precommand does not reach it.)
if workflow.remote_exec:
    workflow.spawned_job_args_factory.precommand = lambda **_: "trap : TERM USR1"

# Where the study's results are for the rules, and where they are on the disk: another workflow may
# give this one a `prefix:`, which Snakemake puts before the paths of inputs, outputs and logs.
ROOT = f"{results_folder(config, workflow.pathvars.get('results'))}/{PLAN.study.study}"
PLACE = str(workflow.modifier.path_modifier.replace_prefix(ROOT))
let_waiting_jobs_decide()
# After a copy without modification times, every output would look new.
if not workflow.remote_exec:
    times.restore(PLAN, PLACE)
URGENCY = urgency(PLAN.jobs)
# One of them listens to all studies of a workflow.
if not any(isinstance(handler, Progress) for handler in logger.handlers):
    logger.addHandler(Progress(workers=workflow.cores or 1))
logger.addHandler(memory.Watch(PLACE))
# The cache key already contains package versions, whichever way they were installed.
CACHE = "omit-software" if sharing.in_use() else False
# Only a Snakemake that submits jobs estimates their sizes. `_nodes` (the most submissions at once) is
# known before the executor is, and in a dry run too.
SUBMITS = workflow.global_resources["_nodes"].value is not None
SIZES = estimate(PLAN) if SUBMITS and not workflow.remote_exec else None
SMALL_TRAININGS = small_trainings(PLAN, SIZES)
# Teacher outputs and students are submitted in groups unless a group would wait for itself.
STUDENTS_TEACH = students_teach(PLAN)
GROUP_TEACHERS = (SUBMITS or workflow.remote_exec) and not STUDENTS_TEACH
TRAINING_RETRIES = training_retries(SIZES)


wildcard_constraints:
    set=r"[A-Za-z0-9_-]+",
    model=r"[A-Za-z0-9_-]+",
    pair=r"[A-Za-z0-9_-]+",
    method=r"[A-Za-z0-9_~-]+",
    seed=r"\d+",
    instance=r"[A-Za-z0-9_-]+",
    network=r"(models/[A-Za-z0-9_-]+|students/[A-Za-z0-9_-]+/[A-Za-z0-9_~-]+|means/[A-Za-z0-9_-]+)/seed\d+",
    looked_at=r"(models/[A-Za-z0-9_-]+|students/[A-Za-z0-9_-]+/[A-Za-z0-9_~-]+)(\+\d+)?",
    number=r"\d+",
    against=r"unary|vs-[A-Za-z0-9_~-]+",
    family=r"[a-z_]+",


def results(stages, plan=PLAN):
    """Every file that these stages of the study make."""
    return [
        f"{ROOT}/{path}" for s in stages for j in plan.by_stage(s) for path in j.outputs
    ]


def collected(target):
    """Every file of the stage that the target ``target`` stands for."""
    if PLAN.study.decide is None:
        return results([COLLECTED[target]])
    return lambda wildcards: results([COLLECTED[target]], plan_after())


def plan_after(look=None):
    """The plan after the first ``look`` looks, or after as many as it takes.

    A look is a checkpoint: Snakemake comes back here once it is taken. On the node of a job all
    that the job needs have been.
    """
    ask = lambda number: None
    if not workflow.remote_exec:
        ask = lambda number: checkpoints.look.get(number=number)
    try:
        return plan_of(taken(PLAN.whole, Path(PLACE), look, ask))
    except KdpipeError as error:
        raise WorkflowError(str(error))


@cache
def plan_of(looks):
    return Plan(PLAN.whole, looks)


def job_of(target, wildcards):
    """The planned job behind the wildcards.

    Only looks and results depend on what looks found.
    """
    name = target.format(**wildcards)
    if name not in PLAN.jobs:
        raise WorkflowError(f"Study '{PLAN.study.study}' has no job that makes {name}.")
    job = PLAN.jobs[name]
    if PLAN.study.decide is None or job.stage not in ("look", *RESULTS):
        return job
    before = int(wildcards.number) - 1 if job.stage == "look" else None
    return plan_after(before).jobs[name]


def inputs(target):
    """What a job reads, and what it only waits for."""

    def of_job(wildcards):
        job = job_of(target, wildcards)
        read = [f"{ROOT}/{path}" for path in job.inputs]
        return [*read, *(ancient(f"{ROOT}/{path}") for path in job.after)]

    return of_job


def job(target):
    """The parameters of the job that makes ``target``: where, with which settings and code.

    They are what a rerun is decided by.
    """
    return {
        name: lambda w, name=name: parameters(PLAN, job_of(target, w))[name]
        for name in parameter_names(PLAN)
    }


def shared(target):
    """The parameters of a job whose outputs studies may share through Snakemake's cache.

    ``surroundings`` is a part of the cache's key only: what takes ``resources`` is never a reason
    to rerun.
    """
    return {
        **job(target),
        "surroundings": lambda w, resources: sharing.surroundings(job_of(target, w)),
    }


def attempt(wildcards, attempt):
    """Which try of a job this is. A resource, because those never are a reason to rerun."""
    return attempt


def need(target, gpus=1):
    """What the job that makes ``target`` asks of a scheduler, ``gpus`` where it computes on GPUs.

    Only where jobs are submitted: to count a network's operations takes seconds, and locally
    nothing asks.
    """
    size = lambda w: SIZES.need(PLAN.jobs[target.format(**w)]) if SIZES else NOTHING
    grown = lambda w: memory.factor(PLACE, target.format(**w))
    return {
        "mem_mb": lambda w: size(w).memory_mb * grown(w),
        "runtime": lambda w: size(w).minutes,
        "gpu": gpus if PLAN.compute.device == "cuda" else 0,
        "root": PLACE,
        "attempt": attempt,
    }


def first(target):
    """What most jobs wait for starts first."""
    return lambda w: URGENCY.get(target.format(**w), 0)


def log_of(target):
    """The log of the job that makes ``target``, which may hold wildcards."""
    return f"{ROOT}/logs/{os.path.splitext(target)[0]}.log"


def benchmark_of(target):
    """Seconds and memory of the job that makes ``target``."""
    return f"{ROOT}/benchmarks/{os.path.splitext(target)[0]}.tsv"


def outputs(target):
    """The files of a job without wildcards."""
    return [f"{ROOT}/{path}" for path in PLAN.jobs[target].outputs]


def shown(target, category, ending):
    """The files of a job; those of one kind stand in Snakemake's own report as well."""
    marked = []
    for path in outputs(target):
        labels = {"name": os.path.basename(path)}
        inside = report(path, category=category, labels=labels)
        marked.append(inside if path.endswith(ending) else path)
    return marked
