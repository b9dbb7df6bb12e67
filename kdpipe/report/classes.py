"""What the report says of the table ``classes``: how many classes changed, and which."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdpipe.report.sentences import Line
from kdpipe.results import words

if TYPE_CHECKING:
    import pandas as pd

NAMED = 5
"""Classes that a sentence names in either direction."""


def lines(classes: pd.DataFrame | None, probe: str) -> list[Line]:
    """A sentence for each pair, method and condition of a property that has classes."""
    if classes is None or classes.empty:
        return []
    found = classes[(classes["probe"] == probe) & classes["changed"].notna()]
    made = []
    for (pair, method, condition, _), rows in found.groupby(
        ["pair", "method", "condition", "metric"], sort=False
    ):
        changed = rows[rows["changed"].astype(bool)]
        share = words.number(len(changed) / len(rows), words.FRACTION)
        parts = [f"{len(changed)} of {len(rows)} classes changed ({share})"]
        for said, sign in (("better", 1), ("worse", -1)):
            names = changed.loc[sign * changed["diff"] > 0].sort_values(
                "diff", ascending=sign < 0, kind="stable"
            )["class"]
            if len(names):
                more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
                parts.append(f"{said}: {', '.join(names[:NAMED])}{more}")
        about = f"{pair}, {words.method_words(str(method))}"
        where = words.condition_words(str(condition), named=True)
        made.append(Line(f"{about}, {where}" if where else about, "; ".join(parts) + "."))
    return made
