"""``kdpipe export``: hand the results of a study to an experiment tracker."""

from __future__ import annotations

import importlib
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from kdpipe.base.errors import KdpipeError


class Tracker(StrEnum):
    """Each is a module of this room, and an extra of the package."""

    tensorboard = "tensorboard"
    wandb = "wandb"
    mlflow = "mlflow"


def export(
    results: Annotated[
        Path, typer.Argument(metavar="RESULTS", help="The folder of a study, results/<study>.")
    ],
    to: Annotated[Tracker, typer.Option(help="The tracker.")],
    out: Annotated[
        str | None,
        typer.Option(
            help="Folder to write, RESULTS/exports/TRACKER without it; of mlflow also the address "
            "of a tracking server or database."
        ),
    ] = None,
) -> None:
    """Export training histories, verdicts and gaps closed to TensorBoard, W&B or MLflow.

    Nothing is sent anywhere but to an address that --out names. A further export replaces the
    first.
    """
    from kdpipe.export.contents import read

    contents = read(results)
    if out is not None and "://" in out and to is not Tracker.mlflow:
        raise KdpipeError(f"--out {out}: {to.value} is exported to a folder; name one.")
    place = out or str(results / "exports" / to.value)
    print(written(to, contents, place))


def written(to: Tracker, contents: object, place: str) -> str:
    """Export; a sentence on where it is. Raises KdpipeError where the tracker is not installed."""
    try:
        return importlib.import_module(f"kdpipe.export.{to.value}").write(contents, place)
    except ModuleNotFoundError as error:
        raise KdpipeError(
            f"--to {to.value} needs the package '{error.name}', which is not installed; run "
            f"pip install 'kdpipe[{to.value}]', or 'pip install -e .[{to.value}]' in a clone."
        ) from None
