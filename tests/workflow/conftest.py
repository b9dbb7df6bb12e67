"""A tiny study that Snakemake runs once, and copies of it that tests may edit."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from helpers.workspace import Workspace, fresh


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The tiny study after a run on two cores. Tests only read it.

    Workers of pytest-xdist share it: the first one that needs it runs it, the others wait.
    """
    shared = tmp_path_factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        shared = shared.parent
    workspace = Workspace(shared / "finished")
    screen = workspace.path / "screen.txt"
    with FileLock(shared / "finished.lock"):
        if not screen.exists():
            done = fresh(workspace.path).run()
            screen.write_text(done.stdout)
    assert (workspace.results / "report.html").exists(), screen.read_text()
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
