"""An uninterrupted study, copies of it to interrupt, and the seed of the random moments."""

from __future__ import annotations

import fcntl
import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.interrupted import ALONE, SEED, Interrupted, small_study
from helpers.workspace import Workspace, fresh


def pytest_configure(config: pytest.Config) -> None:
    # Workers of xdist inherit it.
    os.environ.setdefault(SEED, str(random.SystemRandom().randrange(10**6)))


def pytest_sessionstart(session: pytest.Session) -> None:
    """Say the seed at the start, in quiet runs as well, for a run that is not seen to its end."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None:  # workers have none
        reporter.write_line(f"{SEED}={os.environ[SEED]} repeats the moments of this run")


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Interrupted:
    """The study up to its tables, run without interruption, once for all workers."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "finished").exists():
            workspace = fresh(folder / "unfinished")
            workspace.change_study(small_study)
            done = workspace.run("tables", **ALONE)
            assert done.returncode == 0, done.stdout
            workspace.path.rename(folder / "finished")
    return Interrupted(Workspace(folder / "finished"))


@pytest.fixture
def study(finished: Interrupted, tmp_path: Path) -> Iterator[Interrupted]:
    """A copy of the finished study, of which a test removes what it wants to make again."""
    path = tmp_path / "workspace"
    shutil.copytree(finished.workspace.path, path, symlinks=True)
    copy = Interrupted(Workspace(path))
    yield copy
    copy.end_all()
    shutil.rmtree(path)


@pytest.fixture
def moments(request: pytest.FixtureRequest) -> random.Random:
    """Random moments that depend on the printed seed and on the test alone."""
    return random.Random(f"{os.environ[SEED]} {request.node.name}")
