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
    from kdpipe.results.settings import Decide


def aa(
    place: PlaceArg,
    splits: Annotated[
        int, typer.Option(min=1, help="Splits of the independent students, at most.")
    ] = 100,
    looks: Annotated[
        str,
        typer.Option(
            help="Numbers of seeds, such as 4,8,16, at which paired students are looked at; those "
            "of the study without it."
        ),
    ] = "",
    as_json: JsonArg = False,
    results: ResultsArg = Path("results"),
) -> None:
    """A/A test: how often the rule says that something was transferred where nothing was.

    One half of the independent students plays the distilled ones, in every possible way or in many
    random ones, and the whole rule judges them. It needs 4 independent students of a pair. The
    halves share no seed. Students that are paired by seed are tested as pairs as well: without the
    mean effect of their method, each seed deviates towards either side.
    """
    from kdpipe.results import aa as test
    from kdpipe.results import aa_paired
    from kdpipe.workflow.finished import finished

    found = finished(place, results)
    everything = found.measured()
    decide = _decide(looks) if looks else found.study.decide
    measured, pairs = test.usable(everything), aa_paired.usable(everything, decide)
    if not measured:
        raise KdpipeError(
            f"No pair of {found.root} has {test.FEWEST} independent students, two for each side of "
            "an A/A test; give the student model more seeds and run the study again."
        )
    levels = found.chance_levels()
    counts = test.count(measured, test.aa_rows(measured, levels, splits), splits)
    rows = aa_paired.paired_rows(pairs, levels, splits, decide)
    paired = aa_paired.count_paired(pairs, rows, splits)
    if as_json:
        print(json.dumps({"counts": _told(counts), "paired": _told(paired)}, indent=1))
        return
    if not counts:
        print("No claim could be judged: see why in tables/transfer.")
        return
    _print(counts, "Independent students as if distilled")
    print(sentence(counts[-1]))
    if paired:
        at = f", looked at with {', '.join(map(str, decide.looks))} seeds" if decide else ""
        _print(paired, f"Students paired by seed, without the effect of their method{at}")
        print(sentence(paired[-1], "ways to give signs"))


def _told(counts: Sequence[Count]) -> list[dict[str, object]]:
    return [c._asdict() | {"name": c.name or "all"} for c in counts]


def _decide(looks: str) -> Decide:
    """The looks of an option: numbers with commas between them."""
    from pydantic import ValidationError

    from kdpipe.base.plugin import explain
    from kdpipe.results.settings import Decide

    try:
        seeds = [int(word) for word in looks.split(",")]
        return Decide(at_most=max(seeds), looks=seeds)
    except ValidationError as error:
        raise KdpipeError(f"--looks: {explain(error)}.") from None
    except ValueError:
        raise KdpipeError(f"--looks: '{looks}' is no list of numbers such as 4,8,16.") from None


def sentence(of_all: Count, ways: str = "ways to divide students") -> str:
    """The result in one sentence."""
    within = "above" if of_all.low > 0.05 else "in agreement with"
    return (
        f"Without any distillation the rule says 'transferred' or 'opposite' in {of_all.false:.1%} "
        f"of the comparisons (95 % interval {of_all.low:.1%} to {of_all.high:.1%}, from "
        f"{of_all.trials} {ways}): {within} the 5 % that it allows."
    )


def _print(counts: Sequence[Count], title: str) -> None:
    from rich.table import Table

    from kdpipe.results import words

    head = ("property", "claims", "verdicts", "transferred or opposite", "95 % interval")
    printed = Table(*head, "p < 0.05", "no gap", title=title)
    for c in counts:
        name = words.property_words(c.name).label if c.name else "all"
        numbers = (f"{c.false:.1%}", f"{c.low:.1%} to {c.high:.1%}")
        shares = (f"{c.significant:.1%}", f"{c.no_gap:.1%}")
        printed.add_row(name, str(c.claims), str(c.judged), *numbers, *shares)
    print_table(printed, width=110)
