# Helpers shared by all rules; everything about a study is asked of kdpipe's plan.
import sys

sys.path.insert(0, workflow.basedir)
from kdpipe import memory, warm
from kdpipe.errors import KdpipeError
from kdpipe.progress import Progress
from kdpipe.workflow import (
    NOTHING,
    estimate,
    open_plan,
    small_trainings,
    training_retries,
)
from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

try:
    PLAN = open_plan(config, workflow.basedir, on_node=workflow.remote_exec)
except KdpipeError as error:
    raise WorkflowError(str(error))

logger.addHandler(Progress(workers=workflow.cores or 1))
ROOT = f"results/{PLAN.study.study}"
logger.addHandler(memory.Watch(ROOT))
# Of the jobs that this Snakemake submits; the one on a node and the one at home run what they are
# given. How many may be submitted at once is known before the executor is, and in a dry run too.
SUBMITS = workflow.global_resources["_nodes"].value is not None
SIZES = estimate(PLAN) if SUBMITS and not workflow.remote_exec else None
SMALL_TRAININGS = small_trainings(SIZES)
TRAINING_RETRIES = training_retries(SIZES)
# How every stage is called. It writes to its log; when it fails, Progress shows how the log ends.
# The rules "exec" it: Slurm signals every process of a step, and when a shell in between died of
# it first, Snakemake would end, and with it the step, before a training has kept its checkpoint.
ARGUMENTS = (
    "--root {params.root} --out {params.out} --slice {params.slice:q} "
    "--code {params.code} --attempt {resources.attempt} > {log} 2>&1"
)


wildcard_constraints:
    set=r"[A-Za-z0-9_-]+",
    model=r"[A-Za-z0-9_-]+",
    pair=r"[A-Za-z0-9_-]+",
    method=r"[A-Za-z0-9_-]+",
    seed=r"\d+",
    instance=r"[A-Za-z0-9_-]+",
    network=r"(models/[A-Za-z0-9_-]+|students/[A-Za-z0-9_-]+/[A-Za-z0-9_-]+)/seed\d+",
    against=r"unary|vs-[A-Za-z0-9_-]+-seed\d+",
    family=r"[a-z_]+",


def results(stages):
    """Every file that these stages of the study make."""
    return [
        f"{ROOT}/{path}" for s in stages for j in PLAN.by_stage(s) for path in j.outputs
    ]


def job_of(target, wildcards):
    """The planned job behind the wildcards."""
    name = target.format(**wildcards)
    if name not in PLAN.jobs:
        raise WorkflowError(f"Study '{PLAN.study.study}' has no job that makes {name}.")
    return PLAN.jobs[name]


def inputs(target):
    return lambda w: [f"{ROOT}/{path}" for path in job_of(target, w).inputs]


def job(target):
    """The parameters of the job that makes ``target``: where, with which settings and code.

    ``slice`` and ``code`` are what a rerun is decided by.
    """
    return {
        "root": lambda w: ROOT,
        "out": lambda w: f"{ROOT}/{target.format(**w)}",
        "slice": lambda w: job_of(target, w).slice_json,
        "code": lambda w: job_of(target, w).code,
    }


def attempt(wildcards, attempt):
    """Which try of a job this is. A resource, because those never are a reason to rerun."""
    return attempt


def need(target, gpu=True):
    """What the job that makes ``target`` asks of a scheduler.

    Only where jobs are submitted: to count a network's operations takes seconds, and locally
    nothing asks.
    """
    size = lambda w: SIZES.need(job_of(target, w)) if SIZES else NOTHING
    grown = lambda w: memory.factor(ROOT, job_of(target, w).target)
    return {
        "mem_mb": lambda w: size(w).memory_mb * grown(w),
        "runtime": lambda w: size(w).minutes,
        "gpu": int(gpu and PLAN.compute.device == "cuda"),
        "attempt": attempt,
    }


def outputs(target):
    """The files of a job without wildcards."""
    return [f"{ROOT}/{path}" for path in PLAN.jobs[target].outputs]
