"""``kdpipe snakemake``: which words Snakemake gets, and in which order."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kdpipe.base.errors import KdpipeError
from kdpipe.base.project import place
from kdpipe.cli import app
from kdpipe.workflow.start import command, makes_report, results_of, waited_for


@pytest.fixture
def study(tmp_path) -> Path:
    path = tmp_path / "study.yaml"
    path.write_text("study: x\n")
    return path


def behind(found: list[str]) -> list[str]:
    assert found[:3] == [sys.executable, "-m", "snakemake"]
    return found[3:]


def test_targets_stand_before_the_study_and_options_behind_it(study):
    words = behind(command(study, ["tables", "figures", "--cores", "2", "--config", "a=1"]))
    rules = ["--snakefile", str(place("Snakefile"))]
    options = ["--cores", "2", "--config", "a=1"]
    assert words == ["tables", "figures", *rules, "--configfile", str(study), *options]


def test_snakemake_reads_one_study_and_the_targets(study):
    """By Snakemake's own parser, which would take targets behind --configfile for studies."""
    cli = pytest.importorskip("snakemake.cli")
    words = behind(command(study, ["tables", "report", "--cores", "2"]))
    _, found = cli.parse_args(words)
    assert list(found.targets) == ["tables", "report"]
    assert [str(path) for path in found.configfile] == [str(study)]


@pytest.mark.parametrize("word", ["--configfile", "--configfile=b.yaml", "--snakefile", "-s"])
def test_another_study_or_other_rules_are_refused(study, word):
    with pytest.raises(KdpipeError, match="Leave out -"):
        command(study, ["tables", word])


def test_what_is_missing_is_said(study, tmp_path, monkeypatch):
    with pytest.raises(KdpipeError, match=r"gone\.yaml is no study file"):
        command(tmp_path / "gone.yaml", [])
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(KdpipeError, match="Snakemake is not installed"):
        command(study, [])


def test_options_behind_the_study_are_not_ours(study, monkeypatch):
    started = []
    monkeypatch.setattr("kdpipe.workflow.start.start", started.append)
    words = ["snakemake", str(study), "tables", "-n", "--help", "-c2"]
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert behind(started[0])[-3:] == ["-n", "--help", "-c2"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], True),
        (["--cores", "2"], True),
        (["report", "--cores", "2"], True),
        (["tables", "--cores", "2"], False),
        (["-n"], False),
        (["--cores", "2", "--dry-run"], False),
        (["--until=tables"], False),
    ],
)
def test_expectations_are_judged_where_a_report_is_made(words, expected):
    assert makes_report(words) == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "results"),
        (["--config", "results_root=else/where/", "data_root=x", "--cores", "2"], "else/where"),
        (["-C", "results_root=elsewhere", "-d", "there"], "there/elsewhere"),
        (["all", "--cores", "2", "--directory", "/far"], "/far/results"),
    ],
)
def test_expectations_are_judged_where_the_results_are(study, words, expected):
    pytest.importorskip("snakemake.cli")
    assert results_of(command(study, words)) == Path(expected)


def test_the_exit_code_is_that_of_the_program_or_of_its_signal():
    assert waited_for([sys.executable, "-c", "raise SystemExit(7)"]) == 7
    ended = "import os, signal; os.kill(os.getpid(), signal.SIGTERM)"
    assert waited_for([sys.executable, "-c", ended]) == 128 + 15
