"""Selects claims and controls from the table ``transfer`` and limits verdicts by the controls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kdpipe.probes import probes
from kdpipe.results import words
from kdpipe.results.reasons import ALONE, EQUIVALENCE, NOT_MEASURABLE, SMALL

if TYPE_CHECKING:
    import pandas as pd

KEY = ["pair", "probe", "condition", "metric"]
NO_FINDING = "within seeds"
NOT_JUDGED = "not judged"


def primary_claims(transfer: pd.DataFrame) -> pd.DataFrame:
    """The one row per pair, property and method that a verdict is about, in reading order.

    Where there is no independent student, nothing is compared and nothing claimed. A claim that
    could not be judged is among them: it was asked for.
    """
    compared = transfer["reason"] != ALONE
    return _in_order(transfer[transfer["primary"] & (transfer["role"] == "claim") & compared])


def controls_of(transfer: pd.DataFrame) -> pd.DataFrame:
    """Control rows that answer the same question as a claim.

    A control pair has its own primary row. A control condition (the foreign attacker) stands
    beside a primary claim and is taken for the metric of that claim.
    """
    asked = set(
        zip(*(transfer.loc[transfer["primary"], c] for c in ("probe", "metric")), strict=True)
    )
    rows = transfer[transfer["role"] == "control"]
    own = set(zip(*(rows.loc[rows["primary"], c] for c in ("pair", "probe")), strict=True))
    keep = [
        i
        for i, row in rows.iterrows()
        if row["primary"]
        or ((row["probe"], row["metric"]) in asked and (row["pair"], row["probe"]) not in own)
    ]
    return _in_order(rows.loc[keep])


def is_relational(row: pd.Series) -> bool:
    """Whether a row compares a network with its teacher instead of describing it alone."""
    if row["probe"] in probes:
        return probes.get(row["probe"]).relational
    return bool(row["teacher"] != row["teacher"])  # not installed here: no value of the teacher's


def inside_control(controls: pd.DataFrame, row: pd.Series) -> bool | None:
    """Whether two independent students differ as much; None if unknown."""
    same = controls[
        (controls["method"] == row["method"])
        & (controls[KEY].astype(str) == row[KEY].astype(str)).all(axis=1)
    ]
    if same.empty or same["inside"].isna().all():
        return None
    return bool(same["inside"].iloc[0])


def limited(row: Any) -> bool:
    """Whether the difference of a row of ``transfer`` is no finding if two independent students
    differ as much.

    Not of paired students: their interval is made from five differences or more, seed by seed,
    while the range over all pairs of independents widens with every seed.
    """
    return row["verdict"] in ("transferred", "opposite") and row["seed_term"] != "paired"


def finding(controls: pd.DataFrame, row: pd.Series) -> str:
    """The verdict, lowered to ``within seeds`` where independent students differ as much;
    ``not judged`` without a verdict."""
    verdict = row["verdict"]
    if not isinstance(verdict, str):
        return NOT_JUDGED
    if limited(row) and inside_control(controls, row):
        return NO_FINDING
    return verdict


def found(transfer: pd.DataFrame, controls: pd.DataFrame) -> pd.DataFrame:
    """Primary claims in reading order, each with its ``finding``."""
    claims = primary_claims(transfer)
    return claims.assign(finding=[finding(controls, row) for _, row in claims.iterrows()])


def why(row: Any) -> str:
    """Of a claim without a gap: the gap, and which of two reasons makes it none; of one that is
    not judged the reason. Empty for all others."""
    metric, reason = words.metric_of(row), row["reason"]
    if not isinstance(reason, str):
        return ""
    if reason not in (SMALL, NOT_MEASURABLE):
        return reason
    gap = words.number(row["gap"], metric, signed=True)
    spread = words.interval(row["gap_low"], row["gap_high"], metric, signed=True)
    if reason == SMALL:
        return f"gap {gap} {spread}, smaller than {words.amount(row['min_gap'], metric)}"
    return f"gap {gap} {spread}, not measurable"


def is_trace(row: Any) -> bool:
    """Whether a transfer was shown that is certainly less than a tenth of the gap: with many images
    a difference that hardly matters is significant as well."""
    return bool(row["verdict"] == "transferred" and row["closed_high"] < EQUIVALENCE)


def _in_order(rows: pd.DataFrame) -> pd.DataFrame:
    rank = {p: i for i, p in enumerate(words.property_order(rows["probe"].unique()))}
    return rows.sort_values("probe", key=lambda c: c.astype(str).map(rank), kind="stable")
