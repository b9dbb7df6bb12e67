"""``kdpipe snakemake`` with the real Snakemake."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from helpers.places import REPOSITORY


@pytest.mark.workflow
def test_a_dry_run_from_another_folder(tmp_path):
    """With the default study, up to one stage."""
    words = [str(REPOSITORY / "config.yaml"), "subset", "-n", "--cores", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "kdpipe", "snakemake", *words],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "subset" in done.stdout
    assert "tables" not in done.stdout
