"""How long a network takes for one image on this machine's CPU.

Wall-clock time is of a machine and a moment: it stands in cards and in the report of an audit that
asks for it, and never in a table, which is the same in every run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch.utils.benchmark import Timer

from kdpipe.base.paths import NetworkRef
from kdpipe.base.provenance import write_json
from kdpipe.plan.plan import Plan
from kdpipe.report.networks import LATENCY
from kdpipe.run.inprocess import run_job
from kdpipe.training.artefact import load

SECONDS = 1.0
"""How long each network is timed, at least."""


def measure(plan: Plan, root: Path) -> dict[str, dict[str, Any]]:
    """Time every network of a study whose networks are there, and write ``latency.json``.

    With the images of the model's data set, as many threads as the study's jobs have, and batches
    of one image. By network: ``milliseconds`` (the median of ``torch.utils.benchmark``),
    ``threads``, ``batch``, ``side`` of the image, ``runs``.
    """
    threads = plan.compute.threads
    found = {}
    networks: dict[str, NetworkRef] = {**plan.models, **plan.students}
    for path, ref in networks.items():
        side = plan.study.data.sets[plan.study.models[plan.study.model_of(ref)].data.set].size
        found[path] = timed(root / path, side, threads)
    write_json(root / LATENCY, found)
    return found


@torch.no_grad()
def timed(folder: Path, side: int, threads: int) -> dict[str, Any]:
    """Time the network of ``folder`` on images of ``side`` pixels."""
    network, image = load(folder), torch.rand(1, 3, side, side)
    timer = Timer(
        "network(image)", globals={"network": network, "image": image}, num_threads=threads
    )
    with torch.inference_mode():
        runs = timer.blocked_autorange(min_run_time=SECONDS)
    return {
        "milliseconds": 1000 * runs.median,
        "threads": threads,
        "batch": 1,
        "side": side,
        "runs": runs.number_per_run * len(runs.raw_times),
    }


def add(plan: Plan, root: Path) -> None:
    """Measure, and write the report again, which then shows it."""
    measure(plan, root)
    for job in plan.by_stage("report"):
        run_job(job, root)


def remove(root: Path) -> None:
    """What an earlier audit measured in the same folder."""
    (root / LATENCY).unlink(missing_ok=True)
