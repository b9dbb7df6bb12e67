"""The table ``classes``: which classes distillation changed, with Holm's correction over them.

Any statistic of a class takes part, which is one whose condition says ``class=…``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from kdpipe.probes.shared.conditions import condition, condition_values
from kdpipe.results import statistics as st
from kdpipe.results.columns import Row

KEY = "class"
_PLACE = ("pair", "method", "probe", "condition", "metric")
_TAKEN = ("scope", "n_units", "teacher", "ind_mean", "dist_mean", "diff", "diff_low", "diff_high")


def class_rows(transfer: Iterable[Row]) -> list[Row]:
    """Rows of ``classes``, from those of ``transfer`` that are of a class.

    All classes of one pair, method, probe, metric and rest of the condition are corrected together.
    A class without a p-value (no independent student, no image) counts as no test and has neither
    changed nor stayed.
    """
    families: dict[tuple[str, ...], list[tuple[str, Row]]] = defaultdict(list)
    for row in transfer:
        values = condition_values(row["condition"])
        name = values.pop(KEY, None)
        if name is not None:
            of = {**row, "condition": condition(**values)}
            families[tuple(str(of[key]) for key in _PLACE)].append((name, row))
    rows = []
    for place, members in families.items():
        adjusted = st.holm([row["p_value"] for _, row in members])
        for (name, row), p in zip(members, adjusted, strict=True):
            rows.append({
                **dict(zip(_PLACE, place, strict=True)),
                KEY: name,
                **{key: row[key] for key in _TAKEN},
                "p_value": row["p_value"],
                "p_adjusted": p,
                "changed": None if p != p else p < st.ALPHA,
            })  # fmt: skip
    return rows
