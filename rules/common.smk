# Helpers shared by all rules; everything about a study is asked of kdpipe's plan.
import os
import sys

sys.path.insert(0, workflow.basedir)
from kdpipe import warm
from kdpipe.errors import KdpipeError
from kdpipe.progress import Progress
from kdpipe.workflow import open_plan
from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

try:
    PLAN = open_plan(config, workflow.basedir)
except KdpipeError as error:
    raise WorkflowError(str(error))

logger.addHandler(Progress(workers=workflow.cores or 1))
ROOT = f"results/{PLAN.study.study}"
# How every stage is called. It writes to its log; when it fails, Progress shows how the log ends.
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
