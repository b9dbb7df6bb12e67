"""The command line: every stage by hand, and questions about a study before it runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from kdpipe.errors import KdpipeError, StoppedError

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
    str, typer.Option("--code", help="Digest of the code, part of a checkpoint's name.")
]
DataRootArg = Annotated[
    Path | None, typer.Option(envvar="KDPIPE_DATA", help="Folder of data on disk.")
]
StudyArg = Annotated[Path, typer.Argument(help="A study file (YAML).")]


AttemptArg = Annotated[
    int, typer.Option(help="Which try of Snakemake's this is; a retry repeats a lasting failure.")
]

STAGES = {
    "subset": "Pick images, render their domains.",
    "train": "Train one network on labels alone.",
    "teacher_outputs": "Tabulate a teacher's answers to its students' training images.",
    "distil": "Distil one student.",
    "calibrate": "Fit a probe's settings to one network, such as the strength of an attack.",
    "probe": "Measure every property of one family on one network.",
    "tables": "Join all records into the tables.",
    "figures": "Draw the figures from the tables.",
    "report": "Write the report.",
}


def _add_stage(name: str, text: str) -> None:
    def command(
        slice_: SliceArg,
        root: RootArg,
        out: OutArg,
        code: CodeArg = "",
        attempt: AttemptArg = 1,
        data_root: DataRootArg = None,
    ) -> None:
        from kdpipe import jobs, orphan

        jobs.forgive_output()
        orphan.watch()
        jobs.run_stage(name, slice_, root, out, code=code, attempt=attempt, data_root=data_root)

    app.command(name, help=text)(command)


for _name, _text in STAGES.items():
    _add_stage(_name, _text)


@app.command()
def check(study: StudyArg) -> None:
    """Validate a study file and everything it names."""
    from kdpipe.plan import Plan
    from kdpipe.study import load

    plan = Plan(load(study))
    print(f"{study}: study '{plan.study.study}' is valid, {len(plan.jobs)} jobs.")


@app.command()
def plan(study: StudyArg, data_root: DataRootArg = None) -> None:
    """Jobs, training work, memory and time of a study, before anything runs."""
    from kdpipe.cost import print_cost
    from kdpipe.estimate import print_needs
    from kdpipe.plan import Plan
    from kdpipe.study import load

    made = Plan(load(study))
    print_cost(made, data_root)
    print_needs(made, data_root)


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
    except StoppedError as error:
        print(error, file=sys.stderr)
        sys.exit(128 + error.signal)
    except KdpipeError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
