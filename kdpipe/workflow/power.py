"""``kdpipe power``: how many seeds would decide what a study leaves open."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kdpipe.workflow.arguments import JsonArg, PlaceArg, ResultsArg, print_table

if TYPE_CHECKING:
    import pandas as pd

    from kdpipe.plan.plan import Plan
    from kdpipe.report.outlook import Advice
    from kdpipe.workflow.finished import Finished


def power(
    place: PlaceArg,
    at_most: Annotated[
        int, typer.Option(min=3, help="The most seeds a side that are considered.")
    ] = 64,
    as_json: JsonArg = False,
    results: ResultsArg = Path("results"),
) -> None:
    """How many seeds or images would decide the claims that a study leaves open.

    From the measurements of a study that ran, for a chance of 80 %: if each effect is what it
    seems, and if there is none. With the time that further seeds take.
    """
    from kdpipe.plan.plan_results import without_teacher
    from kdpipe.report import outlook
    from kdpipe.workflow.finished import finished

    found = finished(place, results)
    table = open_claims(found, at_most)
    without = {name: without_teacher(pair) for name, pair in found.study.pairs.items()}
    claims = outlook.of_taught(table, without)
    if claims is None:
        print(json.dumps({"claims": [], "advice": None}) if as_json else "No claim is open.")
        return
    plan = found.plan
    if as_json:
        print(_as_json(claims, plan, found.root))
        return
    _print(claims)
    given = outlook.advice(claims)
    print(outlook.sentence(claims, cost(plan, found.root, given)).text)


def open_claims(found: Finished, at_most: int) -> pd.DataFrame:
    """The table ``power``, computed from the records, whatever the tables of the study hold."""
    from kdpipe.results.looks import judged
    from kdpipe.results.transfer import transfer_rows
    from kdpipe.results.undecided import power_rows
    from kdpipe.results.write import to_table

    measured, levels, decide = found.measured(), found.chance_levels(), found.study.decide
    transfer = (
        transfer_rows(measured, levels)
        if decide is None
        else judged(measured, decide, levels).transfer
    )
    return to_table("power", power_rows(measured, transfer, at_most)).to_pandas()


def cost(plan: Plan, root: Path, given: Advice) -> str:
    """``, about 4 min more, one job after the other``, or nothing where no duration is known."""
    from kdpipe.plan.throughput import duration

    took = _seconds(plan, root, given)
    return "" if took is None else f", about {duration(took)} more, one job after the other"


def _seconds(plan: Plan, root: Path, given: Advice) -> float | None:
    from kdpipe.workflow.more_seeds import seconds

    return None if given.seeds is None else seconds(plan, root, given.pairs, given.seeds)


def _as_json(claims: pd.DataFrame, plan: Plan, root: Path) -> str:
    """Claims and advice; what is unknown is null."""
    from kdpipe.report.outlook import advice

    given = advice(claims)
    rows = json.loads(claims.convert_dtypes().to_json(orient="records", double_precision=15))
    told = {"claims": rows, "advice": {**given._asdict(), "seconds": _seconds(plan, root, given)}}
    return json.dumps(told, indent=1, ensure_ascii=False)


def _print(claims: pd.DataFrame) -> None:
    from rich.table import Table

    from kdpipe.report import outlook

    made = outlook.table(claims)
    printed = Table(*made.head, title="Open claims, and what would decide them")
    for row in made.rows:
        printed.add_row(*(cell.text for cell in row))
    print_table(printed, width=130)
