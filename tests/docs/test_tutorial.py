"""The tutorial's edits start the jobs that it lists, and its table of reruns is complete."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest
import yaml

from helpers.pages import blocks
from helpers.places import REPOSITORY
from helpers.reruns import merged, rerun
from kdpipe.study.schema import parse

EDITS = [yaml.safe_load(text) for text in blocks("tutorial.md", "yaml")]
SAID = [
    {stage: int(count) for stage, count in map(str.split, text.splitlines())}
    for text in blocks("tutorial.md", "text")
]


def default_study() -> dict[str, Any]:
    return yaml.safe_load((REPOSITORY / "config.yaml").read_text())


@pytest.mark.parametrize("step", range(len(EDITS)))
def test_an_edit_starts_the_jobs_that_the_page_says(step):
    """Each edit after those before it, as a reader makes them."""
    before = default_study()
    for edit in EDITS[:step]:
        before = merged(before, edit)
    after = merged(before, EDITS[step])
    assert after != before
    assert dict(rerun(before, after)) == SAID[step]


def test_every_edit_has_its_table():
    assert len(EDITS) == len(SAID) == 4


def test_a_second_entry_of_a_method_is_valid():
    """What section 4 recommends instead of replacing a weight."""
    study = default_study()
    study["pairs"]["main"]["methods"]["kl_half"] = {"objective": "kl", "alpha": 0.5}
    assert parse(study).pairs["main"].methods["kl_half"].options.alpha == 0.5
    assert (
        "`kl_half: {objective: kl, alpha: 0.5}`"
        in (REPOSITORY / "docs" / "tutorial.md").read_text()
    )


def test_make_run_is_the_command_of_the_page():
    """Too long to run; the environment counts as built."""
    done = subprocess.run(
        ["make", "-n", "--old-file=.venv/.installed", "run"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "snakemake --cores" in done.stdout
