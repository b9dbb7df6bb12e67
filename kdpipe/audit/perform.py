"""A composed audit is run, or written as a study file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from kdpipe.audit import latency, outcome
from kdpipe.audit.checked import check_networks
from kdpipe.audit.options import options_for_keys, printed_in_options
from kdpipe.audit.wishes import Wishes
from kdpipe.base.provenance import write_atomically
from kdpipe.plan.plan import Plan
from kdpipe.run import inprocess
from kdpipe.run.lock import hold_run
from kdpipe.study.schema import parse
from kdpipe.workflow.snakefile import check_writable

NAME = "audit"
NAMES = [NAME, *(f"{NAME}{k}" for k in range(2, 100))]
"""Folders of results of audits without a name, of which several may run at once."""


def write(study: dict[str, Any], path: Path) -> None:
    """The study as a file, once it is known to be valid; KdpipeError if it is not."""
    parse(study, "The audit")
    text = yaml.safe_dump(study, sort_keys=False, allow_unicode=True)
    write_atomically(path, lambda p: p.write_text(text, encoding="utf-8"))
    print(f"{path}: run it with 'kdpipe run {path}', or with Snakemake.")


def run(
    study: dict[str, Any],
    left_out: Mapping[str, str],
    results: Path,
    names: Sequence[str],
    wishes: Wishes | None = None,
    timed: bool = False,
) -> int:
    """Run the study under the first of ``names`` whose folder no other audit uses; the exit code.

    ``timed``: time the networks.
    """
    parse(study, "The audit")
    check_writable(results / names[0])
    with hold_run(*(results / name for name in names)) as root:
        plan = Plan(parse({**study, "study": root.name}, "The audit"))
        check_networks(plan)
        check_writable(root, plan.jobs)
        with printed_in_options():
            latency.remove(root)
            inprocess.run_all(plan, results, said=options_for_keys)
            if timed:
                latency.add(plan, root)
            return outcome.tell(plan, root, left_out, wishes)
