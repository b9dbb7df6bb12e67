"""The key ``expect`` of a study: in the plan, in the report, and as an exit code."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from helpers.mini_study import STUDY
from kdpipe.base.errors import KdpipeError
from kdpipe.cli import app
from kdpipe.plan.plan import Plan
from kdpipe.study.expected import expectations
from kdpipe.study.schema import parse


def study(*expect: str) -> Any:
    raw = copy.deepcopy(STUDY)
    return parse({**raw, "expect": list(expect)} if expect else raw, "study.yaml")


def test_only_the_report_knows_what_is_expected():
    with_it, without = Plan(study("accuracy>=0.5")), Plan(study())
    for target, job in without.jobs.items():
        other = with_it.jobs[target]
        assert (other.settings_json == job.settings_json) == (job.stage != "report"), target
        assert '"expect":' not in job.settings_json
    stated = next(job.settings for job in with_it.by_stage("report")).expect
    assert stated == expectations(with_it.study)
    assert (stated[0].probe, stated[0].bound) == ("accuracy", 0.5)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("accuracy", r"expect 'accuracy' is no expectation; write PROBE"),
        ("cka>=0.5", "cka is not measured; list it under probes of a pair. Measured: accuracy"),
        ("accuracy.speed>=1", "accuracy has no metric 'speed'"),
        ("accuracy>=90", None),
    ],
)
def test_what_makes_no_sense_is_refused_when_the_study_is_read(text, sentence):
    if sentence is None:  # a bound of the primary metric, whose unit only its records say
        assert study(text).expect == [text]
        return
    with pytest.raises(KdpipeError, match=sentence):
        study(text)


def test_a_run_ends_with_the_exit_code_of_its_expectations(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    raw = copy.deepcopy(STUDY)
    name = raw["study"]

    def ended(command: str, *expect: str, more: tuple[str, ...] = ()) -> Any:
        Path("s.yaml").write_text(yaml.safe_dump({**raw, "expect": list(expect)}))
        return CliRunner().invoke(app, [command, "s.yaml", *more])

    done = ended("run", "accuracy>=0", "accuracy<=-1")
    assert done.exit_code == 1, done.output
    assert "Expected accuracy<=-1" in done.output
    assert "<h2>Expectations</h2>" in Path(f"results/{name}/report.html").read_text()
    assert ended("verdict", "accuracy>=0", more=("--summary", "s.md")).exit_code == 0
    assert Path("s.md").read_text().startswith(f"### kdpipe `{name}`: 1 met")
    rows = json.loads(json.dumps(yaml.safe_load(Path(f"results/{name}/study.yaml").read_text())))
    assert rows["expect"] == ["accuracy>=0", "accuracy<=-1"]
    none = CliRunner().invoke(app, ["verdict", f"results/{name}"])
    assert none.exit_code == 1
    # Under Snakemake: its own exit code if it failed, else that of the expectations.
    for code, bound, expected in (
        (0, "accuracy>=0", 0),
        (0, "accuracy<=-1", 1),
        (5, "accuracy>=0", 5),
    ):
        monkeypatch.setattr("kdpipe.workflow.start.waited_for", lambda _, code=code: code)
        assert ended("snakemake", bound, more=("--cores", "2")).exit_code == expected
    Path("s.yaml").write_text(yaml.safe_dump(raw))
    refused = CliRunner().invoke(app, ["verdict", "s.yaml"])
    assert "states no expectations; give it the key expect" in str(refused.exception)
