"""Expectations of a study: the exit code of ``kdpipe snakemake``, and what an edit of one costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

from helpers.edits import setting
from helpers.workspace import STUDY, Workspace, job_stats

pytestmark = pytest.mark.workflow


def ended(workspace: Workspace) -> subprocess.CompletedProcess[str]:
    """``kdpipe snakemake`` on the study of the workspace."""
    return subprocess.run(
        [sys.executable, "-m", "kdpipe", "snakemake", STUDY, "--cores", "2"],
        cwd=workspace.path,
        env=workspace.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )


def test_the_exit_code_follows_an_edited_expectation(finished_copy: Workspace) -> None:
    """And of all jobs the report alone runs again."""
    # Its two seeds leave most bounds undecided, so that these lie where no accuracy can be.
    expectations = {"accuracy>=-1": (0, "met"), "accuracy<=-1": (1, "not met")}
    for text, (code, finding) in expectations.items():
        setting("expect", [text])(finished_copy)
        done = ended(finished_copy)
        assert done.returncode == code, done.stdout
        assert job_stats(done.stdout) == {"report": 1}
        assert f"Expected {text}: {finding}. accuracy 0." in done.stdout
        page = (finished_copy.results / "report.html").read_text(encoding="utf-8")
        assert page.count(f">{finding}</td>") == 1
