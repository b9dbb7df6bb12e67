"""What more seeds would decide: one sentence, and a table of the claims that are open."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite, nan
from typing import TYPE_CHECKING, Any, NamedTuple

from kdpipe.report.headline import Sentence, apart
from kdpipe.report.values import Cell, Table
from kdpipe.results import words

if TYPE_CHECKING:
    import pandas as pd


class Advice(NamedTuple):
    """``seeds`` a side decide ``decided`` of the ``claims`` that are open, in the pairs ``pairs``;
    None where no number of seeds decides one."""

    seeds: int | None
    decided: int
    claims: int
    pairs: list[str]


def advice(claims: pd.DataFrame) -> Advice:
    """The number of seeds that decides the most claims for each seed; of equal ones the larger.

    ``claims``: rows of the table ``power``. To decide all of them would often be too dear, because
    the last one may need many times the seeds of the others.
    """
    needed = sorted(claims["seeds_as_seen"].dropna().astype(int))
    if not needed:
        return Advice(None, 0, len(claims), [])
    seeds = max(needed, key=lambda k: (sum(n <= k for n in needed) / k, k))
    decided = claims[claims["seeds_as_seen"] <= seeds]
    return Advice(seeds, len(decided), len(claims), sorted(decided["pair"].unique()))


def of_taught(power: pd.DataFrame | None, without: Mapping[str, list[str]]) -> pd.DataFrame | None:
    """The open claims of methods that see their teacher; None where nothing is open or known.

    ``without``: by pair, methods that see no teacher.
    """
    if power is None or power.empty:
        return None
    taught = apart(power, dict(without))[0]
    return None if taught.empty else taught


def sentence(claims: pd.DataFrame, more: str = "") -> Sentence:
    """One sentence on what more seeds would decide.

    ``claims``: at least one. ``more``: what the seeds cost, in words.
    """
    given = advice(claims)
    count = f"{given.claims} claim{'s are' if given.claims > 1 else ' is'} open"
    at_most = int(claims["at_most"].iloc[0])
    if given.seeds is not None:
        them, what = (f"{given.decided} of them", "effects are what they seem")
        if given.claims == 1:
            them, what = "it", "the effect is what it seems"
        text = f"{count}; if {what}, {given.seeds} seeds a side would decide {them}{more}"
    elif single(claims).all():
        text = f"{count} about single networks, of which more seeds say nothing"
    else:
        text = f"{count}, and up to {at_most} seeds a side would decide none of them"
    units = int(claims["units_as_seen"].notna().sum())
    if units:
        text += f"; {units} need{'s' * (units == 1)} more images"
    return Sentence("more-seeds", "More seeds", f"{text}.")


def single(claims: pd.DataFrame) -> pd.Series:
    """Which claims are about single networks."""
    return claims[["n_seeds_ind", "n_seeds_dist"]].min(axis=1) < 2


def table(claims: pd.DataFrame) -> Table:
    """One row for each open claim."""
    head = ["Property", "Pair", "Method", "Gap closed", "Seeds now", "Seeds if it is what it seems"]
    head += ["Verdict then", "Seeds if there is nothing", "Claims corrected together"]
    order = {p: k for k, p in enumerate(words.property_order(claims["probe"].unique()))}
    rows = sorted(claims.to_dict("records"), key=lambda r: (order[r["probe"]], r["pair"]))
    return Table(head, [_row(row) for row in rows])


def _row(row: dict[Any, Any]) -> list[Cell]:
    seen = _need(row, "as_seen")
    decided = any(isfinite(row[f"{what}_as_seen"] or nan) for what in ("seeds", "units"))
    return [
        Cell(words.property_words(row["probe"]).label),
        Cell(row["pair"]),
        Cell(words.method_words(row["method"])),
        Cell(words.share(row["share"]), row["share"]),
        Cell(f"{row['n_seeds_dist']} vs {row['n_seeds_ind']}", row["n_seeds_dist"]),
        seen,
        Cell(row["verdict_as_seen"] if decided else "–"),
        _need(row, "if_none"),
        Cell(str(row["n_claims"]), row["n_claims"]),
    ]


def _need(row: dict[Any, Any], case: str) -> Cell:
    """The seeds that are needed, or why no number of them is enough."""
    seeds, units = row[f"seeds_{case}"], row[f"units_{case}"]
    alone = min(row["n_seeds_dist"], row["n_seeds_ind"]) < 2
    if isinstance(row["reason"], str):
        return Cell(row["reason"])
    if isfinite(seeds or nan):
        return Cell(f"{seeds:.0f}", seeds)
    if isfinite(units or nan):
        return Cell(f"{'' if alone else str(row['at_most']) + ' with '}n = {units:,.0f}")
    return Cell("–" if alone else f"more than {row['at_most']}")
