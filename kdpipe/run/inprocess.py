"""All jobs of a plan in order, in one process: for tests and for machines without Snakemake."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from kdpipe.plan.job import Job
from kdpipe.plan.order import Order
from kdpipe.plan.plan import Plan
from kdpipe.plan.reached import read
from kdpipe.run import manifest
from kdpipe.run.stage import run_stage
from kdpipe.stages.order import RESULTS, STAGES
from kdpipe.study.decide import Undecided


def run_job(job: Job, root: Path, data_root: Path | None = None) -> None:
    """Call the stage of one job, with its settings as JSON, as a job of its own gets them."""
    out = root / job.target
    run_stage(job.stage, job.settings_json, root, out, code=job.code, data_root=data_root)


def run_all(
    plan: Plan, results: Path, data_root: Path | None = None, said: Callable[[str], str] = str
) -> None:
    """Run every job, stage by stage, into ``results/<study>``; a distilled teacher before its
    students.

    Of a study with ``decide``, stage by stage for each look: then the jobs that it asked for.

    ``said``: puts what the gate found into the words of the command.
    """
    root = results / plan.study.study
    root_data = plan.study.data.root
    data_root = data_root or (Path(root_data) if root_data else None)
    manifest.keep_study(plan, root)
    order = Order()
    taken: tuple[Undecided, ...] = ()
    while True:
        now = plan if plan.whole.decide is None else Plan(plan.whole, taken)
        look = now.pending
        for stage in STAGES if look is None else (s for s in STAGES if s not in RESULTS):
            for job in order.of(now.jobs, now.by_stage(stage)):
                print(f"{job.stage}: {job.target}", flush=True)
                run_job(job, root, data_root)
            if stage == "gate":
                _print_networks(now, root, said)
        if look is None:
            return
        taken = (*taken, read(root, look))


def _print_networks(plan: Plan, root: Path, said: Callable[[str], str]) -> None:
    """What the gate found, before anything is measured."""
    from kdpipe.report.networks import print_table

    print_table(root, [*plan.models, *plan.students], said)
