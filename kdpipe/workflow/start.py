"""``kdpipe snakemake``: Snakemake on one study, in the order of words that it needs."""

from __future__ import annotations

import importlib.util
import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from kdpipe.base.errors import KdpipeError
from kdpipe.base.project import place

CONTEXT = {"allow_interspersed_args": False}
"""What stands behind the study goes to Snakemake as it is, ``--help`` as well."""
# Words by which Snakemake would be given another study or other rules; it takes short forms too.
_OURS = {
    "--configfile": "the study is the first word",
    "--configfiles": "the study is the first word",
    "--snakefile": "the rules are those of kdpipe",
    "-s": "the rules are those of kdpipe",
}
# Options with which Snakemake runs no job.
_IDLE = {"-n", "--dry-run", "--dryrun", "--unlock", "--touch", "-t", "--lint", "-l", "--report"}
_IDLE |= {"--dag", "--rulegraph", "--filegraph", "--d3dag", "--summary", "-S", "--detailed-summary"}
_IDLE |= {"-D", "--list", "--list-rules", "--list-target-rules", "--lt", "--delete-all-output"}
_IDLE |= {"--cleanup-metadata", "--help", "-h", "--version", "-v", "--until", "-U", "--omit-from"}


def snakemake(
    study: Annotated[Path, typer.Argument(help="A study file (YAML).")],
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[TARGET]... [OPTION]...",
            help="Targets first, such as tables, then options of Snakemake, such as --cores 2 or "
            "-n.",
        ),
    ] = None,
) -> None:
    """Run a study with Snakemake: 'kdpipe snakemake STUDY tables --cores 2'.

    The same as 'snakemake tables --configfile STUDY --cores 2', from any folder. Options of
    Snakemake follow the study and its targets and are passed on. A study with the key expect ends
    with exit code 0 if all expectations are met, 1 if one is not, 2 if one cannot be told.
    """
    program = command(study, words or ())
    if makes_report(words or ()) and _expects(study):
        raise typer.Exit(waited_for(program) or _judged(study, results_of(program)))
    start(program)


def makes_report(words: Sequence[str]) -> bool:
    """Whether Snakemake, given these words, ends with a report, so that expectations can be
    judged."""
    targets = set(itertools.takewhile(lambda word: not word.startswith("-"), words))
    idle = any(word.partition("=")[0] in _IDLE for word in words)
    return not idle and (not targets or bool(targets & {"all", "report"}))


def _expects(study: Path) -> bool:
    from kdpipe.study.schema import load

    return bool(load(study).expect)


def results_of(program: Sequence[str]) -> Path:
    """The folder of ``<study>/`` that Snakemake writes to: its own parser reads ``--config
    results_root=…`` and ``--directory`` of ``program``, and profiles."""
    from snakemake.cli import parse_args, parse_config

    from kdpipe.workflow.snakefile import results_folder

    _, read = parse_args(list(program[3:]))
    return Path(read.directory or "", results_folder(parse_config(read.config)))


def _judged(study: Path, results: Path) -> int:
    """The exit code of the expectations, whose lines Snakemake has printed."""
    from kdpipe.plan.plan import Plan
    from kdpipe.results.judged import exit_code
    from kdpipe.study.schema import load
    from kdpipe.workflow.closing import judged

    plan = Plan(load(study))
    return exit_code(judged(plan, results / plan.study.study))


def waited_for(command: list[str]) -> int:
    """Run ``command``, which gets the signals of this process; its exit code, 128 + signal where
    one ended it."""
    sys.stdout.flush()
    sys.stderr.flush()
    child = subprocess.Popen(command)
    # A terminal sends Ctrl-C to both; others send their signals to this process alone.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    ended = signal.signal(signal.SIGTERM, lambda number, _: child.send_signal(number))
    try:
        code = child.wait()
    finally:
        signal.signal(signal.SIGINT, before)
        signal.signal(signal.SIGTERM, ended)
    return code if code >= 0 else 128 - code


def command(study: Path, words: Sequence[str]) -> list[str]:
    """The command of Snakemake for ``study``; ``words`` are targets, then options.

    ``--configfile`` takes every word up to the next option, so that a target behind it would be a
    second study. Raises KdpipeError for a study that is no file, for options that name another
    one, and where Snakemake or the rules are not installed.
    """
    if not study.is_file():
        raise KdpipeError(f"{study} is no study file; write 'kdpipe snakemake STUDY [TARGET]...'.")
    for word in words:
        if (reason := _OURS.get(word.partition("=")[0])) is not None:
            raise KdpipeError(f"Leave out {word.partition('=')[0]}: {reason}.")
    if importlib.util.find_spec("snakemake") is None:
        raise KdpipeError(
            f"Snakemake is not installed; install 'snakemake>=9.20,<10', or use "
            f"'kdpipe run {study}' without it."
        )
    targets = list(itertools.takewhile(lambda word: not word.startswith("-"), words))
    options = list(words[len(targets) :])
    rules = ["--snakefile", str(place("Snakefile"))]
    program = [sys.executable, "-m", "snakemake"]
    return [*program, *targets, *rules, "--configfile", str(study), *options]


def start(command: list[str]) -> NoReturn:
    """Become ``command``, so that signals and the exit code are its own."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(command[0], command)
