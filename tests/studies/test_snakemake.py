"""Studies on miniature data through Snakemake, as a user runs them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import yaml

from helpers.places import REPOSITORY
from helpers.shrunk import SNAKEMAKE, shrunk, write_data
from helpers.workspace import STUDY, Workspace, fresh
from kdpipe.plan.plan import Plan
from kdpipe.study.schema import load


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    made = fresh(tmp_path / "workspace")
    shutil.copytree(REPOSITORY / "studies", made.path / "studies")
    yield made
    shutil.rmtree(tmp_path)


@pytest.mark.parametrize("name", SNAKEMAKE)
def test_study_runs(name: str, workspace: Workspace) -> None:
    write_data(name, workspace.path / "elsewhere")
    raw = shrunk(name)
    (workspace.path / STUDY).write_text(yaml.safe_dump(raw, sort_keys=False))
    done = workspace.run("--quiet", "host", "reason", "--config", "data_root=elsewhere")
    assert done.returncode == 0, done.stdout
    results = workspace.path / "results" / name
    rows = pd.read_parquet(results / "tables" / "measurements.parquet")
    for key, pair in raw["pairs"].items():
        found = set(rows[rows.pair == key].method)
        assert found >= {*pair["methods"], "ind"}, key
    assert (results / "report.html").stat().st_size > 0


@pytest.mark.parametrize("name", ["mnist-quick", "imagenet"])
def test_dry_run_needs_no_data(name: str, workspace: Workspace) -> None:
    """The file itself, with what it includes; nothing of the default study is in it."""
    file = workspace.path / "studies" / f"{name}.yaml"
    done = workspace.snakemake(
        "--dry-run", "--quiet", "rules", "--cores", "1", "--configfile", f"studies/{file.name}"
    )
    assert done.returncode == 0, done.stdout
    plan = Plan(load(file))
    assert f"{len(plan.jobs) + 1}" in done.stdout, done.stdout
    assert "results/digits" not in done.stdout
