"""How a run of given networks ended: for people, for programs, and as an exit code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kdpipe.plan.plan import Plan

INCOMPLETE = 3
"""Exit code of a run that measured something, but not all that was asked for."""


def tell(plan: Plan, root: Path, not_asked: Mapping[str, str]) -> int:
    """Print the answer, and as the last line the same as JSON; the exit code.

    ``root``: where the results are. ``not_asked``: why a property is no part of the study, by
    property; those take nothing away from the exit code.
    """
    from kdpipe.results.tables import Tables
    from kdpipe.workflow.closing import answer

    print("", *answer(plan, root), sep="\n")
    for name, reason in not_asked.items():
        print(f"Not measured: {name}, because {reason}.")
    print(f"All of it: {root / 'report.html'}, {root / 'tables'}.")
    reasons = Tables.load(root, []).left_out
    rows = [] if reasons is None else reasons.to_dict("records")
    left_out: dict[str, str] = {}
    for row in rows:
        left_out.setdefault(str(row["instance"]), str(row["reason"]))
    code = INCOMPLETE if left_out else 0
    asked = {name for pair in plan.study.pairs.values() for name in pair.probes}
    about: dict[str, Any] = {
        "exit": code,
        "results": str(root),
        "report": str(root / "report.html"),
        "measured": sorted(asked - set(left_out)),
        "left_out": left_out,
        "not_asked": dict(not_asked),
    }
    print(json.dumps(about, ensure_ascii=False), flush=True)
    return code
