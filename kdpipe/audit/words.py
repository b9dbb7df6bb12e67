"""What an audit found, in the words of its report, for the terminal."""

from __future__ import annotations

from pathlib import Path

from kdpipe.plan import Plan
from kdpipe.plan_results import tables_slice


def in_words(plan: Plan, root: Path) -> list[str]:
    """The first sentences of the report, from the tables below ``root``."""
    from kdpipe.figures.base import Tables
    from kdpipe.report.audit import audited, headline

    pairs = tables_slice(plan.study).pairs
    tables = Tables.load(root, [])
    found = headline(audited(tables, pairs), pairs)
    return ["", *(f"{sentence.lead}: {sentence.text}" for sentence in found)]
