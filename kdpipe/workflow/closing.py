"""What a finished study says: its answer in the words of the report, and where the report lies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kdpipe.base.errors import KdpipeError
from kdpipe.plan.plan import Plan
from kdpipe.plan.plan_results import tables_settings, without_teacher
from kdpipe.plan.reached import reached
from kdpipe.results.expectations import Expectation
from kdpipe.results.judged import Judged, judge, lines
from kdpipe.study.expected import expectations


def closing(plan: Plan, root: str | Path) -> list[str]:
    """Lines for the terminal, once the report of ``root``, the study's folder, is written."""
    root = Path(root)
    place = f"Report: {root / 'report.html'}. Tables: {root / 'tables'}."
    try:
        return ["", *answer(plan, root), *lines(judged(plan, root)), place]
    except KdpipeError as error:
        return [str(error), place]


def judged(plan: Plan, root: Path, stated: Sequence[Expectation] | None = None) -> list[Judged]:
    """How expectations ended: those ``stated``, or those of the study.

    Raises KdpipeError where something that they are about was not measured yet.
    """
    stated = expectations(plan.whole) if stated is None else stated
    if not stated:
        return []
    return judge(tables_settings(reached(plan.whole, root).study).pairs, root, stated)


def answer(plan: Plan, root: Path) -> list[str]:
    """The first lines of the report: what casts doubt on the answer, then the answer, and how long
    it takes to know more.

    Raises KdpipeError when the tables are not there.
    """
    from kdpipe.report.answer import lines as first_lines
    from kdpipe.results.tables import Tables
    from kdpipe.workflow.power import cost

    plan = reached(plan.whole, root)
    pairs = tables_settings(plan.study).pairs
    untaught = {name: without_teacher(pair) for name, pair in plan.study.pairs.items()}
    tables = Tables.load(root, [], pairs)
    tables.transfer, tables.decide = tables.counted(), plan.study.decide
    return first_lines(tables, pairs, untaught, lambda advice: cost(plan, root, advice))
