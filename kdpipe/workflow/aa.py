"""``kdpipe aa``: how often the rule of a verdict errs on the students of a study."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kdpipe.base.errors import KdpipeError
from kdpipe.workflow.arguments import JsonArg, PlaceArg, ResultsArg, print_table

if TYPE_CHECKING:
    from kdpipe.results.aa import Count


def aa(
    place: PlaceArg,
    splits: Annotated[
        int, typer.Option(min=1, help="Splits of the independent students, at most.")
    ] = 100,
    as_json: JsonArg = False,
    results: ResultsArg = Path("results"),
) -> None:
    """A/A test: how often the rule says that something was transferred where nothing was.

    One half of the independent students plays the distilled ones, in every possible way or in many
    random ones, and the whole rule judges them. It needs 4 independent students of a pair. The
    halves share no seed, so that the form of the rule for paired seeds is not tested.
    """
    from kdpipe.results import aa as test
    from kdpipe.workflow.finished import finished

    found = finished(place, results)
    measured = test.usable(found.measured())
    if not measured:
        raise KdpipeError(
            f"No pair of {found.root} has {test.FEWEST} independent students, two for each side of "
            "an A/A test; give the student model more seeds and run the study again."
        )
    rows = test.aa_rows(measured, found.chance_levels(), splits)
    counts = test.count(measured, rows, splits)
    if as_json:
        told = [c._asdict() | {"name": c.name or "all"} for c in counts]
        print(json.dumps({"counts": told}, indent=1))
        return
    if not counts:
        print("No claim could be judged: see why in tables/transfer.")
        return
    _print(counts)
    print(sentence(counts[-1]))


def sentence(of_all: Count) -> str:
    """The result in one sentence."""
    within = "above" if of_all.low > 0.05 else "in agreement with"
    return (
        f"Without any distillation the rule says 'transferred' or 'opposite' in {of_all.false:.1%} "
        f"of the comparisons (95 % interval {of_all.low:.1%} to {of_all.high:.1%}, from "
        f"{of_all.trials} ways to divide students): {within} the 5 % that it allows."
    )


def _print(counts: Sequence[Count]) -> None:
    from rich.table import Table

    from kdpipe.results import words

    head = ("property", "claims", "verdicts", "transferred or opposite", "95 % interval")
    printed = Table(*head, "p < 0.05", "no gap", title="Independent students as if distilled")
    for c in counts:
        name = words.property_words(c.name).label if c.name else "all"
        numbers = (f"{c.false:.1%}", f"{c.low:.1%} to {c.high:.1%}")
        shares = (f"{c.significant:.1%}", f"{c.no_gap:.1%}")
        printed.add_row(name, str(c.claims), str(c.judged), *numbers, *shares)
    print_table(printed, width=110)
