"""The command line: every stage by hand, and questions about a study before it runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from kdpipe.errors import KdpipeError

app = typer.Typer(
    help="Find out what a student network inherits from its teacher.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

SliceArg = Annotated[
    str, typer.Option("--slice", help="The job's settings as JSON, as 'kdpipe jobs' prints them.")
]
RootArg = Annotated[Path, typer.Option("--root", help="The study's folder, results/<study>.")]
OutArg = Annotated[Path, typer.Option("--out", help="File or folder to write.")]
CodeArg = Annotated[
    str, typer.Option("--code", help="Digest of the code, part of the checkpoint's name.")
]
DataRootArg = Annotated[
    Path | None, typer.Option(envvar="KDPIPE_DATA", help="Folder of data on disk.")
]
StudyArg = Annotated[Path, typer.Argument(help="A study file (YAML).")]


def _validated(model: Any, text: str) -> Any:
    from pydantic import ValidationError

    from kdpipe.plugin import explain

    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        raise KdpipeError(f"--slice: {explain(error)}.") from None


@app.command()
def subset(
    slice_: SliceArg,
    root: RootArg,
    out: OutArg,
    data_root: DataRootArg = None,
) -> None:
    """Pick images, render their domains."""
    from kdpipe.stages import subset as stage

    stage.run(_validated(stage.SubsetSlice, slice_), root, out, data_root)


@app.command()
def train(slice_: SliceArg, root: RootArg, out: OutArg, code: CodeArg = "") -> None:
    """Train one network on labels alone."""
    from kdpipe.stages import train as stage

    stage.run(_validated(stage.TrainSlice, slice_), root, out, code)


@app.command("teacher_outputs")
def teacher_outputs(slice_: SliceArg, root: RootArg, out: OutArg) -> None:
    """Tabulate a teacher's answers to its students' training images."""
    from kdpipe.stages import teacher_outputs as stage

    stage.run(_validated(stage.TeacherOutputsSlice, slice_), root, out)


@app.command()
def distil(slice_: SliceArg, root: RootArg, out: OutArg, code: CodeArg = "") -> None:
    """Distil one student."""
    from kdpipe.stages import distil as stage

    stage.run(_validated(stage.DistilSlice, slice_), root, out, code)


@app.command()
def calibrate(slice_: SliceArg, root: RootArg, out: OutArg) -> None:
    """Fit a probe's settings to one network, such as the strength of an attack."""
    from kdpipe.stages import calibrate as stage

    stage.run(_validated(stage.CalibrateSlice, slice_), root, out)


@app.command()
def probe(slice_: SliceArg, root: RootArg, out: OutArg) -> None:
    """Measure every property of one family on one network."""
    from kdpipe.stages import probe as stage

    stage.run(_validated(stage.ProbeSlice, slice_), root, out)


@app.command()
def tables(slice_: SliceArg, root: RootArg, out: OutArg) -> None:
    """Join all records into the tables."""
    from kdpipe.stages import tables as stage

    stage.run(_validated(stage.TablesSlice, slice_), root, out)


@app.command()
def figures(slice_: SliceArg, root: RootArg, out: OutArg) -> None:
    """Draw the figures from the tables."""
    from kdpipe.stages import figures as stage

    stage.run(_validated(stage.FiguresSlice, slice_), root, out)


@app.command()
def report(slice_: SliceArg, root: RootArg, out: OutArg) -> None:
    """Write the report."""
    from kdpipe.stages import report as stage

    stage.run(_validated(stage.ReportSlice, slice_), root, out)


@app.command()
def check(study: StudyArg) -> None:
    """Validate a study file and everything it names."""
    from kdpipe.plan import Plan
    from kdpipe.study import load

    plan = Plan(load(study))
    print(f"{study}: study '{plan.study.study}' is valid, {len(plan.jobs)} jobs.")


@app.command()
def plan(study: StudyArg, data_root: DataRootArg = None) -> None:
    """Jobs, training work and disk of a study, before anything runs."""
    from kdpipe.cost import print_cost
    from kdpipe.plan import Plan
    from kdpipe.study import load

    print_cost(Plan(load(study)), data_root)


@app.command()
def jobs(
    study: StudyArg,
    target: Annotated[str, typer.Option(help="Only the job that makes this.")] = "",
) -> None:
    """The command of every job, to run a stage by hand."""
    import shlex

    from kdpipe.plan import Plan
    from kdpipe.study import load

    made = Plan(load(study))
    root = Path("results") / made.study.study
    if target and target not in made.jobs:
        raise KdpipeError(f"No job of {study} makes '{target}'; 'kdpipe jobs {study}' lists all.")
    for job in made.jobs.values():
        if target in ("", job.target):
            place = ["--root", str(root), "--out", str(root / job.target)]
            words = ["kdpipe", job.stage, *place]
            print(shlex.join([*words, "--slice", job.slice_json]))


@app.command()
def run(
    study: StudyArg,
    results: Annotated[Path, typer.Option(help="Where results/<study> goes.")] = Path("results"),
    data_root: DataRootArg = None,
) -> None:
    """Run a whole study in this process, without Snakemake and without its cache."""
    from kdpipe.inprocess import run_all
    from kdpipe.plan import Plan
    from kdpipe.study import load

    run_all(Plan(load(study)), results, data_root)


def main() -> None:
    """Run the command line; what a person can fix ends in one sentence and status 1."""
    try:
        app()
    except KdpipeError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
