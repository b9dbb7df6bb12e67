"""What an audit found, in the words of its report, for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdpipe.plan import Plan
from kdpipe.plan_results import tables_slice

if TYPE_CHECKING:
    from kdpipe.figures.base import Tables


def in_words(plan: Plan, tables: Tables) -> list[str]:
    """The first sentences of the report."""
    from kdpipe.report.audit import audited, headline
    from kdpipe.report.headline import not_measured

    pairs = tables_slice(plan.study).pairs
    found = [*headline(audited(tables, pairs), pairs), *not_measured(tables.left_out)]
    return ["", *(f"{sentence.lead}: {sentence.text}" for sentence in found)]
