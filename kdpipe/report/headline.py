"""Three sentences that answer the question: distilled, not distilled, undecided."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from kdpipe.results import verdicts, words
from kdpipe.results.reasons import AT_CHANCE

if TYPE_CHECKING:
    import pandas as pd


TRACE = "certainly less than a tenth"
"""Of a significant transfer that hardly matters."""


class Sentence(NamedTuple):
    key: str
    lead: str
    text: str


def headline(
    transfer: pd.DataFrame, controls: pd.DataFrame, without: dict[str, list[str]]
) -> list[Sentence]:
    """What was distilled, what was not, what is undecided, from the verdicts of primary claims.

    ``without``: by pair, methods that see no teacher; what they change is no distillation.
    """
    claims = verdicts.found(transfer, controls)
    if claims.empty:
        return []
    taught, alone = apart(claims, without)

    def of(*findings: str, share: bool = False) -> str:
        return _listed(taught[taught["finding"].isin(findings)], share)

    def joined(*parts: tuple[str, str]) -> str:
        return " ".join(f"{lead}{text}." for lead, text in parts if text)

    distilled = of("transferred", share=True)
    refuted, away = of("not transferred"), of("opposite", share=True)
    unclear, seeds = of("inconclusive"), of(verdicts.NO_FINDING)
    nothing = of("no gap")
    sentences = [
        Sentence(
            "transferred",
            "Distilled",
            joined(("", distilled)) or "for no property was that shown.",
        ),
        Sentence(
            "not-transferred",
            "Not distilled",
            joined(("", refuted), ("Farther from the target: ", away))
            or "for no property was that shown.",
        ),
        Sentence(
            "inconclusive",
            "Undecided",
            joined(
                ("", unclear),
                ("Within the spread of independent students: ", seeds),
                ("No gap to close: ", nothing),
            )
            or "nothing.",
        ),
    ]
    return [*sentences, *not_judged(claims, "Not judged"), *_control(alone)]


def not_judged(claims: pd.DataFrame, lead: str) -> list[Sentence]:
    """Claims that were asked for and have no verdict, each with its reason; none if all have one.

    ``claims``: primary claims with their ``finding``.
    """
    rows = claims[claims["finding"] == verdicts.NOT_JUDGED]
    said = [
        f"{_listed(part, False)}, because {_because(str(reason))}."
        for reason, part in rows.groupby("reason", sort=False)
    ]
    return [Sentence("not-judged", lead, " ".join(said))] if said else []


def _because(reason: str) -> str:
    """A reason of the table in a sentence."""
    begin, _, rest = reason.partition(": ")
    if begin == AT_CHANCE:
        return f"a network is right no more often than by chance: {rest}"
    return f"there is {reason}"


def not_measured(left_out: pd.DataFrame | None) -> list[Sentence]:
    """Properties that were asked for and do not apply, with the reason."""
    if left_out is None or left_out.empty:
        return []
    several = left_out["pair"].nunique() > 1
    said: dict[str, None] = {}
    for row in left_out.drop_duplicates(["pair", "probe"]).to_dict("records"):
        label = words.property_words(str(row["probe"])).label
        where = f"{row['pair']}: " if several else ""
        reason = str(row["reason"])
        if reason[1:2].islower():  # it stands within a sentence; CKA stays CKA
            reason = reason[:1].lower() + reason[1:]
        said[f"{label} ({where}{reason})"] = None
    return [Sentence("inconclusive", "Not measured", f"{'; '.join(said)}.")]


def apart(rows: pd.DataFrame, without: dict[str, list[str]]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows of methods that see their teacher, and rows of those that do not."""
    import numpy as np

    # An array, because a list without entries would choose no columns.
    alone = np.array([r.method in without.get(str(r.pair), []) for r in rows.itertuples()], bool)
    return rows[~alone], rows[alone]


def _control(claims: pd.DataFrame) -> list[Sentence]:
    """What methods without a teacher did, which is not distillation."""
    if claims.empty:
        return []
    names = ", ".join(words.method_words(m) for m in words.method_order(claims["method"]))
    shown = claims[claims["finding"].isin(["transferred", "opposite"])]
    moved = []
    for key, part in shown.groupby("finding", sort=False):
        listed = _listed(part, True)
        way = "towards" if key == "transferred" else "away from"
        moved.append(f"{way} the target in {listed[:1].lower()}{listed[1:]}")
    text = f"moved {', '.join(moved)}" if moved else "moved significantly in no property"
    return [Sentence("control", "Control", f"{names}, which sees no teacher, {text}.")]


def _listed(claims: pd.DataFrame, share: bool) -> str:
    """``Property (method 56 %, method 20 %), …``, with the pair where a property has several."""
    several = claims.groupby("probe")["pair"].nunique().to_dict()
    labels: dict[str, list[str]] = {}  # by what stands in brackets, which properties may share
    for (probe, pair), part in claims.groupby(["probe", "pair"], sort=False):
        label = words.property_words(str(probe)).label
        label = label[:1].lower() + label[1:] if labels else label
        rows = {row["method"]: row for row in part.to_dict("records")}
        methods = [_method(rows[m], share) for m in words.method_order(rows)]
        where = f"{pair}: " if several[probe] > 1 else ""
        labels.setdefault(f"{where}{', '.join(methods)}", []).append(label)
    return "; ".join(
        f"{', '.join(alike)} ({'each: ' * (len(alike) > 1)}{methods})"
        for methods, alike in labels.items()
    )


def _method(row: dict[Any, Any], share: bool) -> str:
    name = words.method_words(row["method"])
    trace = f", {TRACE}" if verdicts.is_trace(row) else ""
    return f"{name} {words.share(row['gap_closed'])} of the gap{trace}" if share else name
