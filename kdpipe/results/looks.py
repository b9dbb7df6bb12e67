"""Judges the claims of a study look by look, until each is decided or the seeds are used up.

A claim that is decided at a look keeps its verdict, and its row holds the seeds of that look. A
method gets the seeds of the next look while one of its claims is undecided. Everything follows from
the records: of the networks of a study it is known which look each method has reached.

Verdicts compare Holm's adjusted p-value with 0.05 as ever, but what is adjusted is the repeated
p-value of the look (:mod:`kdpipe.results.sequential`). Tested like this, a claim is rejected at
level 0.05 / m just when it crosses the group-sequential boundary of that level, which is Holm's
procedure for group-sequential tests (Maurer and Bretz, Statistics in Biopharmaceutical Research 5,
2013). Claims that ended still count as claims of their property: those that were rejected come
first, others have the p-value they ended with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from kdpipe.base.chance import Level
from kdpipe.results.collect import Measured, Network, add_win_rates
from kdpipe.results.columns import Row
from kdpipe.results.controls import control_rows
from kdpipe.results.sequential import Design
from kdpipe.results.settings import Decide
from kdpipe.results.transfer import compared_rows, judge
from kdpipe.results.undecided import is_open
from kdpipe.results.verdicts import limited

Place = tuple[str, str, str, str, str]
REJECTED = ("transferred", "opposite")
SETTLED = (*REJECTED, "not transferred")


@dataclass
class Judged:
    """Rows of ``transfer`` and ``controls`` as of the look at which each ended.

    ``undecided``: pairs and methods with an undecided claim, at the last look that was judged.
    """

    transfer: list[Row] = field(default_factory=list)
    controls: list[Row] = field(default_factory=list)
    undecided: set[tuple[str, str]] = field(default_factory=set)


def judged(
    found: Sequence[Measured],
    decide: Decide,
    levels: Mapping[str, Level] | None = None,
    last: int | None = None,
) -> Judged:
    """Judge look by look, up to look number ``last`` (from 1), or else the last one.

    ``found``: with the seeds from 0 up that each method has; a method is a part of every look that
    it has the seeds for. ``levels``: as of ``transfer_rows``.
    """
    design = Design(decide.fractions, decide.spending)
    rows: dict[Place, Row] = {}
    controls: dict[Place, Row] = {}
    p_values: dict[Place, float] = {}
    settled: set[Place] = set()
    for look, seeds in enumerate(decide.looks[:last], start=1):
        present = [m for m in (of_look(m, seeds) for m in found) if m.dist]
        fresh = compared_rows(present, levels, design.level(look))
        spread = {_place(row): row for row in control_rows(present, fresh)}
        now = {_place(row): row | {"look": look} for row in fresh}
        now = {place: row for place, row in now.items() if place not in settled}
        rows |= now
        controls |= {place: spread[place] for place in now}
        p_values |= {p: design.p(look, row["p_value"]) for p, row in now.items() if row["primary"]}
        _judge(rows, p_values, look)
        settled |= {place for place in now if is_settled(rows[place], controls[place])}
        # What is rejected comes first from now on, and leaves its share of the level to the others.
        p_values |= {p: 0.0 for p in settled if rows[p]["verdict"] in REJECTED}
    reached = max((row["look"] for row in rows.values()), default=0)
    undecided = {
        place[:2]
        for place, row in rows.items()
        if row["look"] == reached and is_undecided(row, controls[place])
    }
    return Judged([*rows.values()], [*controls.values()], undecided)


def _judge(rows: Mapping[Place, Row], p_values: Mapping[Place, float], look: int) -> None:
    """Judge the claims of this look; those that ended before count."""
    judge(
        rows.values(),
        p_of=lambda row: p_values[_place(row)],
        ended=lambda row: bool(row["look"] < look),
    )


def is_settled(row: Row, control: Row) -> bool:
    """Whether a claim has a verdict that it keeps: not where independents differ as much, which
    paired seeds may overcome, and not without a gap, which costs no further seeds."""
    return row["verdict"] in SETTLED and not _within_seeds(row, control)


def is_undecided(row: Row, control: Row) -> bool:
    """Whether a row is a claim that gives its method further seeds."""
    if not (row["primary"] and row["role"] == "claim"):
        return False
    return is_open(row) or _within_seeds(row, control)


def _within_seeds(row: Row, control: Row) -> bool:
    return limited(row) and bool(control["inside"])


def of_look(measured: Measured, seeds: int) -> Measured:
    """``measured`` with the seeds below ``seeds`` of the methods that have them all.

    Win rates are made again, because they compare with the independent students that there are.
    """
    pair = measured.pair
    methods = {m: own[:seeds] for m, own in pair.methods.items() if len(own) >= seeds}
    derived = set(measured.won_from)

    def cut(networks: list[Network]) -> list[Network]:
        return [
            replace(n, outcomes={k: o for k, o in n.outcomes.items() if k not in derived})
            for n in networks
            if n.seed < seeds
        ]

    return add_win_rates(
        replace(
            measured,
            pair=pair.model_copy(
                update={"methods": methods, "ind_seeds": [s for s in pair.ind_seeds if s < seeds]}
            ),
            statistics=[s for s in measured.statistics if (s.condition, s.metric) not in derived],
            ind=cut(measured.ind),
            dist={method: cut(measured.dist[method]) for method in methods},
            won_from={},
        )
    )


def _place(row: Row) -> Place:
    return row["pair"], row["method"], row["probe"], row["condition"], row["metric"]
