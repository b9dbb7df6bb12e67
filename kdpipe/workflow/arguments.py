"""Arguments and printed tables of commands that read the results of a study."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

PlaceArg = Annotated[
    Path,
    typer.Argument(metavar="STUDY|RESULTS", help="A study file, or the folder of its results."),
]
JsonArg = Annotated[bool, typer.Option("--json", help="As JSON, for scripts.")]
ResultsArg = Annotated[Path, typer.Option(help="Where results/<study> is.")]


def print_table(table: Table, width: int) -> None:
    """Print at least ``width`` columns wide, because a pipe has only 80."""
    from rich.console import Console

    console = Console(markup=False, highlight=False)
    console.width = max(console.width, width)
    console.print(table)
