# Helpers shared by all rules; everything about a study is asked of kdpipe's plan.
import os
import sys

sys.path.insert(0, workflow.basedir)
from kdpipe.errors import KdpipeError
from kdpipe.plan import Plan
from kdpipe.study import parse as parse_study
from snakemake.exceptions import WorkflowError

# Jobs run with the Python that runs Snakemake, and find kdpipe, from wherever they start.
os.environ["PATH"] = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
os.environ["PYTHONPATH"] = os.pathsep.join(
    filter(None, [str(workflow.basedir), os.environ.get("PYTHONPATH")])
)

# Where data lies is no part of a study's identity: an environment variable is no rerun reason.
data_root = config.pop("data_root", None) or os.environ.get("KDPIPE_DATA")
data_root = data_root or (config.get("data") or {}).get("root")
if data_root:
    os.environ["KDPIPE_DATA"] = str(data_root)

try:
    PLAN = Plan(parse_study(dict(config), "The study"))
except KdpipeError as error:
    raise WorkflowError(str(error))

ROOT = f"results/{PLAN.study.study}"
# A job writes to its log; when it fails, the last lines come to the screen.
TO_LOG = "> {log} 2>&1 || (tail -n 15 {log} >&2; exit 1)"


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
    return [f"{ROOT}/{path}" for s in stages for j in PLAN.by_stage(s) for path in j.outputs]


def job_of(target, wildcards):
    """The planned job behind a rule's wildcards."""
    name = target.format(**wildcards)
    if name not in PLAN.jobs:
        raise WorkflowError(f"Study '{PLAN.study.study}' has no job that makes {name}.")
    return PLAN.jobs[name]


def inputs(target):
    return lambda w: [f"{ROOT}/{path}" for path in job_of(target, w).inputs]


def settings(target):
    return lambda w: job_of(target, w).slice_json


def code(target):
    return lambda w: job_of(target, w).code


def outputs(target):
    """The files of a job without wildcards."""
    return [f"{ROOT}/{path}" for path in PLAN.jobs[target].outputs]
