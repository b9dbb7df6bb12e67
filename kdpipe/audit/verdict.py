"""``kdpipe verdict``: are the expectations of a study that ran met?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kdpipe.base.errors import KdpipeError
from kdpipe.workflow.arguments import PlaceArg, ResultsArg


def verdict(
    place: PlaceArg,
    junit: Annotated[
        Path | None, typer.Option(help="Write the expectations as JUnit XML to this file.")
    ] = None,
    summary: Annotated[
        Path | None,
        typer.Option(help="Add a summary in Markdown to this file, as to $GITHUB_STEP_SUMMARY."),
    ] = None,
    results: ResultsArg = Path("results"),
) -> None:
    """Judge the expectations of a study that ran, by its key expect.

    Nothing is measured again. Exit code 0: all are met; 1: one is not; 2: one cannot be told.
    """
    from kdpipe.audit.gate_files import append, check_places, write_junit
    from kdpipe.audit.gate_files import summary as in_markdown
    from kdpipe.results.judged import exit_code, lines
    from kdpipe.study.expected import expectations
    from kdpipe.study.schema import load
    from kdpipe.workflow.closing import answer, judged
    from kdpipe.workflow.finished import finished

    check_places(("--junit", junit), ("--summary", summary))
    found = finished(place, results)
    name = found.study.study
    # Of the study file, which may have been given expectations since it ran.
    study = load(place) if place.is_file() else found.study
    ended = judged(found.plan, found.root, expectations(study))
    if not ended:
        raise KdpipeError(
            f"Study '{name}' states no expectations; give it the key expect, as "
            f"expect: ['flips.negative_flips<=0.02']."
        )
    print(*lines(ended), sep="\n")
    if junit is not None:
        write_junit(junit, ended, name)
    if summary is not None:
        append(summary, in_markdown(ended, answer(found.plan, found.root), name))
    if code := exit_code(ended):
        raise typer.Exit(code)
