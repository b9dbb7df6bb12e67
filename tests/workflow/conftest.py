"""A tiny study that Snakemake runs once, and copies of it that tests may edit."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.workspace import Workspace, fresh


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The tiny study after a run on two cores. Tests only read it."""
    workspace = fresh(tmp_path_factory.mktemp("finished") / "workspace")
    done = workspace.run()
    assert done.returncode == 0, done.stdout
    (workspace.path / "screen.txt").write_text(done.stdout)
    return workspace


@pytest.fixture
def finished_copy(finished: Workspace, tmp_path: Path) -> Iterator[Workspace]:
    """A copy of the finished study, with its times of change, for a test that edits it."""
    path = tmp_path / "workspace"
    shutil.copytree(finished.path, path, symlinks=True)
    yield Workspace(path)
    shutil.rmtree(path)  # pytest would keep 40 MB a test


@pytest.fixture
def empty(tmp_path: Path) -> Workspace:
    """The tiny study before its first run."""
    return fresh(tmp_path / "workspace")
