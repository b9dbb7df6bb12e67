"""How a run of given networks ended: for people, for programs, and as an exit code."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdpipe.plan.plan import Plan

if TYPE_CHECKING:
    from kdpipe.audit.wishes import Wishes

INCOMPLETE = 3
"""Exit code of a run that measured something, but not all that was asked for."""


def tell(plan: Plan, root: Path, not_asked: Mapping[str, str], wishes: Wishes | None = None) -> int:
    """Print the answer, and as the last line the same as JSON; the exit code.

    ``root``: where the results are. ``not_asked``: why a property is no part of the study, by
    property; those take nothing away from the exit code. With expectations the code is theirs
    alone (``judged.exit_code``). ``wishes``: None for a run that is no audit and writes no card.
    """
    from kdpipe.results.tables import Tables
    from kdpipe.workflow.closing import answer

    answered = answer(plan, root)
    print("", *answered, sep="\n")
    for name, reason in not_asked.items():
        print(f"Not measured: {name}, because {reason}.")
    print(f"All of it: {root / 'report.html'}, {root / 'tables'}.")
    reasons = Tables.load(root, []).left_out
    rows = [] if reasons is None else reasons.to_dict("records")
    left_out: dict[str, str] = {}
    for row in rows:
        left_out.setdefault(str(row["instance"]), str(row["reason"]))
    code = INCOMPLETE if left_out else 0
    expected: list[dict[str, Any]] = []
    if wishes is not None:
        code, expected = _gate(plan, root, wishes, answered, code)
    asked = {name for pair in plan.study.pairs.values() for name in pair.probes}
    about: dict[str, Any] = {
        "exit": code,
        "results": str(root),
        "report": str(root / "report.html"),
        "measured": sorted(asked - set(left_out)),
        "left_out": left_out,
        "not_asked": dict(not_asked),
        **({"expectations": expected} if expected else {}),
    }
    print(json.dumps(about, ensure_ascii=False), flush=True)
    return code


def _gate(
    plan: Plan, root: Path, wishes: Wishes, answered: Sequence[str], code: int
) -> tuple[int, list[dict[str, Any]]]:
    """Judge the expectations, print them and write their files; the exit code and what it is of."""
    from kdpipe.audit import gate_files
    from kdpipe.plan.plan_results import tables_settings
    from kdpipe.results.judged import exit_code, judge, lines

    judged = judge(tables_settings(plan.study).pairs, root, wishes.expectations)
    code = exit_code(judged) if judged else code
    print(*lines(judged), sep="\n", end="\n" if judged else "")
    gate_files.write(plan, root, judged, code, junit_file=wishes.junit)
    if wishes.summary is not None:
        text = gate_files.summary(judged, answered, plan.study.study)
        gate_files.append(wishes.summary, text)
    return code, [one.as_json() for one in judged]
