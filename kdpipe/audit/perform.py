"""A composed audit is run, or written as a study file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
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


def write(study: dict[str, Any], path: Path) -> None:
    """The study as a file, once it is known to be valid; KdpipeError if it is not."""
    parse(study, "The audit")
    text = yaml.safe_dump(study, sort_keys=False, allow_unicode=True)
    write_atomically(path, lambda p: p.write_text(text, encoding="utf-8"))
    print(f"{path}: run it with 'kdpipe run {path}', or with Snakemake.")


def folders(name: str | None, usual: str) -> list[str]:
    """Folders of results that an audit may use: that of its ``name``, or the ``usual`` one and
    further ones, because several audits without a name may run at once."""
    return [usual, *(f"{usual}{k}" for k in range(2, 100))] if name is None else [name]


@contextmanager
def held(
    study: dict[str, Any],
    results: Path,
    names: Sequence[str],
    targets: Callable[[Plan], Iterable[str]],
) -> Iterator[tuple[Plan, Path]]:
    """The plan of ``study`` and its folder, the first of ``names`` that no other audit uses, once
    its networks fit and its ``targets`` can be written. Raises KdpipeError where they cannot."""
    parse(study, "The audit")
    check_writable(results / names[0])
    with hold_run(*(results / name for name in names)) as root:
        plan = Plan(parse({**study, "study": root.name}, "The audit"))
        check_networks(plan)
        check_writable(root, targets(plan))
        yield plan, root


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
    with (
        held(study, results, names, lambda plan: plan.jobs) as (plan, root),
        printed_in_options(),
    ):
        latency.remove(root)
        inprocess.run_all(plan, results, said=options_for_keys)
        if timed:
            latency.add(plan, root)
        return outcome.tell(plan, root, left_out, wishes)
