"""The command line: every stage by hand, and questions about a study before it runs."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from kdpipe.audit.command import audit
from kdpipe.audit.verdict import verdict
from kdpipe.base.errors import KdpipeError, StoppedError
from kdpipe.export.command import export
from kdpipe.stages.order import STAGES
from kdpipe.workflow.aa import aa
from kdpipe.workflow.arguments import ResultsArg
from kdpipe.workflow.init import init
from kdpipe.workflow.power import power
from kdpipe.workflow.start import CONTEXT, snakemake

app = typer.Typer(
    help="Find out what a student network inherits from its teacher.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

# Printed by typer itself it would be a coloured box, wherever FORCE_COLOR is set as in CI.
_UsageError: Any = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "UsageError")

SettingsArg = Annotated[
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


def _add_stage(name: str, text: str) -> None:
    def command(
        settings: SettingsArg,
        root: RootArg,
        out: OutArg,
        code: CodeArg = "",
        attempt: AttemptArg = 1,
        data_root: DataRootArg = None,
    ) -> None:
        from kdpipe.run import orphan, stage

        stage.forgive_output()
        orphan.watch()
        stage.run_stage(name, settings, root, out, code=code, attempt=attempt, data_root=data_root)

    app.command(name, help=text)(command)


for _name, _text in STAGES.items():
    _add_stage(_name, _text)


@app.command()
def check(
    study: StudyArg,
    data: Annotated[
        bool | None,
        typer.Option(
            help="Require the data to be there, or do not look at it; without either, data that "
            "is missing is reported and is no error."
        ),
    ] = None,
    elsewhere: Annotated[
        bool, typer.Option("--elsewhere", help="Its jobs run on other machines, as on a cluster.")
    ] = False,
    data_root: DataRootArg = None,
) -> None:
    """Validate a study file, everything it names, its networks and layers, and the data."""
    from kdpipe.plan.check_networks import check_machine, check_networks, missing_weights
    from kdpipe.plan.plan import Plan
    from kdpipe.study.schema import load

    plan = Plan(load(study))
    wrong = [] if elsewhere else check_machine(plan)
    wrong += check_networks(plan, data_root)
    if data is not False:
        from kdpipe.plan.check_data import check_data

        good, bad = check_data(plan, data_root)
        bad += missing_weights(plan, data_root)
        for line in (*good, *(bad if data is None else [])):
            print(line)
        wrong += bad if data else []
    if wrong:
        raise KdpipeError("; ".join(sentence.rstrip(".") for sentence in wrong) + ".")
    if plan.precision_reason:
        print(plan.precision_reason)
    most = " at most" if plan.study.decide is not None else ""
    print(f"{study}: study '{plan.study.study}' is valid, {len(plan.jobs)} jobs{most}.")


@app.command()
def plan(
    study: StudyArg,
    tflops: Annotated[
        float | None,
        typer.Option(
            min=1e-6,
            help="Throughput to state hours at, in 10¹² operations a second; measured on this "
            "machine without it.",
        ),
    ] = None,
    cores: Annotated[
        int | None, typer.Option(min=1, help="Of the run; without it all that are here.")
    ] = None,
    data_root: DataRootArg = None,
) -> None:
    """Jobs, training work, memory, time and disk of a study, before anything runs."""
    from kdpipe.plan.cost import print_plan
    from kdpipe.plan.plan import Plan
    from kdpipe.study.schema import load

    print_plan(Plan(load(study)), data_root, tflops, cores)


@app.command()
def layers(study: StudyArg, data_root: DataRootArg = None) -> None:
    """The layers that each method reads of student and teacher, with their shapes, before anything
    runs."""
    from kdpipe.plan.layers import print_layers
    from kdpipe.plan.plan import Plan
    from kdpipe.study.schema import load

    print_layers(Plan(load(study)), data_root)


@app.command()
def jobs(
    study: StudyArg,
    target: Annotated[str, typer.Option(help="Only the job that makes this.")] = "",
    results: ResultsArg = Path("results"),
) -> None:
    """The command of every job, to run a stage by hand.

    With the digest of its code, so that a training keeps checkpoints as under Snakemake.
    """
    import shlex

    from kdpipe.plan.reached import reached
    from kdpipe.study.schema import load

    read = load(study)
    root = results / read.study
    made = reached(read, root)
    if target and target not in made.jobs:
        raise KdpipeError(f"No job of {study} makes '{target}'; 'kdpipe jobs {study}' lists all.")
    for job in made.jobs.values():
        if target in ("", job.target):
            place = ["--root", str(root), "--out", str(root / job.target)]
            words = ["kdpipe", job.stage, *place]
            print(shlex.join([*words, "--slice", job.settings_json, "--code", job.code]))


@app.command()
def why(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[STUDY] [TARGET]",
            help="What to ask about: a job's folder or file, or a stage; nothing for everything "
            "that would run. A first word that ends in .yaml is the study.",
        ),
    ] = None,
    configfile: Annotated[
        Path, typer.Option("--configfile", "--study", help="A study file (YAML).")
    ] = Path("config.yaml"),
    listed: Annotated[
        bool, typer.Option("--list", help="Only the targets that would run, one a line.")
    ] = False,
    results: ResultsArg = Path("results"),
) -> None:
    """Why a job would run, in words; run it where you run Snakemake."""
    from kdpipe.plan.reached import reached
    from kdpipe.run import times
    from kdpipe.study.schema import load
    from kdpipe.workflow.why import Why, explain, find, summary

    names = list(words or [])
    if names and Path(names[0]).suffix in (".yaml", ".yml"):
        configfile = Path(names.pop(0))
    read = load(configfile)
    plan = reached(read, results / read.study)
    # As the workflow does, before it decides.
    times.restore(plan, results / read.study)
    found = Why(plan, results)
    jobs = [job for name in names for job in find(plan, name, found.root)]
    if listed:
        wanted = {job.target for job in jobs} if names else set(found.running)
        for target in found.running:
            if target in wanted:
                print(target)
        return
    for line in summary(found) if not names else ():
        print(line)
    for job in jobs:
        for line in explain(found, job):
            print(line)


@app.command()
def accept(
    study: StudyArg,
    targets: Annotated[
        list[str] | None,
        typer.Argument(help="Jobs, folders, files or stages, as of 'kdpipe why'; without, all."),
    ] = None,
    results: ResultsArg = Path("results"),
) -> None:
    """Keep results that other code made, after an update of kdpipe; run it where you run Snakemake.

    Refused where settings, inputs or outputs are not those of now. What was accepted, by whom and
    when, stands in results/<study>/accepted.json.
    """
    from kdpipe.plan.reached import reached
    from kdpipe.run import times
    from kdpipe.study.schema import load
    from kdpipe.workflow.accept import accept, summary
    from kdpipe.workflow.why import Why, find

    read = load(study)
    plan = reached(read, results / read.study)
    times.restore(plan, results / read.study)
    found = [job for name in targets or [] for job in find(plan, name, results / read.study)]
    jobs = list({job.target: job for job in found}.values()) if targets else [*plan.jobs.values()]
    print(summary(accept(Why(plan, results), jobs), len(jobs)))


@app.command()
def run(
    study: StudyArg,
    results: Annotated[Path, typer.Option(help="Where results/<study> goes.")] = Path("results"),
    data_root: DataRootArg = None,
) -> None:
    """Run a whole study in this process, without Snakemake and without its cache."""
    from kdpipe.plan.check_networks import before_run
    from kdpipe.plan.plan import Plan
    from kdpipe.results.judged import exit_code
    from kdpipe.run.inprocess import run_all
    from kdpipe.run.lock import hold_run
    from kdpipe.study.expected import expectations
    from kdpipe.study.schema import load
    from kdpipe.workflow.closing import closing, judged

    made = Plan(load(study))
    with hold_run(results / made.study.study) as root:
        if made.precision_reason:
            print(made.precision_reason, flush=True)
        before_run(made, root, data_root)
        run_all(made, results, data_root)
        if made.leave_out:
            from kdpipe.audit.outcome import tell
            from kdpipe.audit.wishes import Wishes

            expected = expectations(made.study)
            wishes = Wishes(expected) if expected else None
            raise typer.Exit(tell(made, root, {}, wishes))
    print(*closing(made, root), sep="\n")
    if code := exit_code(judged(made, root)):
        raise typer.Exit(code)


app.command("audit")(audit)
app.command("snakemake", context_settings=CONTEXT)(snakemake)
app.command("init")(init)
app.command("verdict")(verdict)
app.command("export")(export)
app.command("power")(power)
app.command("aa")(aa)


@app.command()
def where(
    name: Annotated[
        str,
        typer.Argument(
            help="Such as Snakefile, studies, profiles/slurm; without it, the folder of them all."
        ),
    ] = "",
) -> None:
    """Where the Snakefile, the studies and the profiles of this kdpipe are."""
    from kdpipe.base.project import place

    print(place(name))


class Page(StrEnum):
    """What ``kdpipe reference`` writes."""

    study = "study"
    tables = "tables"
    schema = "schema"


@app.command()
def reference(
    page: Annotated[
        Page,
        typer.Argument(
            help="study: every key of a study file; tables: every column; schema: the JSON schema "
            "of a study file."
        ),
    ] = Page.study,
    out: Annotated[Path | None, typer.Option(help="File to write; printed without it.")] = None,
    builtin: Annotated[
        bool, typer.Option("--builtin", help="Without plug-ins of other packages.")
    ] = False,
) -> None:
    """Every key of a study file, or every column of its tables: type, default, meaning."""
    from kdpipe.base.provenance import write_atomically

    if page is Page.tables:
        from kdpipe.results.tables_page import tables_page

        text = tables_page()
    elif page is Page.schema:
        from kdpipe.study.json_schema import schema_text

        text = schema_text(builtin_only=builtin)
    else:
        from kdpipe.study.reference import reference

        text = reference(builtin_only=builtin)
    if out is None:
        print(text, end="")
    else:
        write_atomically(out, lambda path: path.write_text(text, encoding="utf-8"))


def main() -> None:
    """Run the command line; what a person can fix ends in one sentence and status 1, or 2 where
    the command itself was wrong."""
    try:
        status = app(standalone_mode=False)
    except _UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # help stands in place of a sentence
            error.show()
        else:
            asked = f"see '{error.ctx.command_path} --help'" if error.ctx else "see --help"
            print(f"error: {error.format_message().rstrip('.')}; {asked}.", file=sys.stderr)
        sys.exit(error.exit_code)
    except StoppedError as error:
        print(error, file=sys.stderr)
        sys.exit(128 + error.signal)
    except KdpipeError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    sys.exit(status if isinstance(status, int) else 0)
