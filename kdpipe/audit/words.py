"""What an audit found, in the words of its report, for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdpipe.plan import Plan
from kdpipe.plan_results import tables_slice

if TYPE_CHECKING:
    from kdpipe.figures.base import Tables


def in_words(plan: Plan, tables: Tables) -> list[str]:
    """The first sentences of the report: what casts doubt on the answer, then the answer."""
    from kdpipe.report.answer import lines

    return ["", *lines(tables, tables_slice(plan.study).pairs, {})]
