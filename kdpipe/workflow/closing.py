"""What a finished study says: its answer in the words of the report, and where the report lies."""

from __future__ import annotations

from pathlib import Path

from kdpipe.base.errors import KdpipeError
from kdpipe.plan.plan import Plan
from kdpipe.plan.plan_results import tables_settings, without_teacher
from kdpipe.plan.reached import reached


def closing(plan: Plan, root: str | Path) -> list[str]:
    """Lines for the terminal, once the report of ``root``, the study's folder, is written."""
    root = Path(root)
    place = f"Report: {root / 'report.html'}. Tables: {root / 'tables'}."
    try:
        return ["", *answer(plan, root), place]
    except KdpipeError as error:
        return [str(error), place]


def answer(plan: Plan, root: Path) -> list[str]:
    """The first lines of the report: what casts doubt on the answer, then the answer, and how long
    it takes to know more.

    Raises KdpipeError when the tables are not there.
    """
    from kdpipe.report.answer import lines
    from kdpipe.results.tables import Tables
    from kdpipe.workflow.power import cost

    plan = reached(plan.whole, root)
    pairs = tables_settings(plan.study).pairs
    untaught = {name: without_teacher(pair) for name, pair in plan.study.pairs.items()}
    tables = Tables.load(root, [], pairs)
    tables.transfer, tables.decide = tables.counted(), plan.study.decide
    return lines(tables, pairs, untaught, lambda advice: cost(plan, root, advice))
