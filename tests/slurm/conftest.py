"""A Slurm of one node for all tests here, a study that ran without Slurm, and copies of it.

Most of a test is waiting, for Slurm and for Snakemake to ask it. So some run at once, as workers of
pytest-xdist, and share what the first one of them has started.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from helpers.cluster import Cluster, NoSlurmError, install
from helpers.interrupted import Interrupted, small_study
from helpers.submitted import Submitted
from helpers.workspace import Workspace, fresh

SHARED = "KDPIPE_SLURM_TESTS"


def pytest_configure(config: pytest.Config) -> None:
    """The process that starts the workers makes the folder, and stops Slurm after the last one."""
    config.addinivalue_line("markers", "whole_slurm: what this does to Slurm hits every job")
    if SHARED in os.environ:
        return
    os.environ[SHARED] = tempfile.mkdtemp(prefix="kdpipe-slurm-")

    def end() -> None:
        folder = Path(os.environ.pop(SHARED))
        Cluster(folder / "slurm").stop()
        shutil.rmtree(folder)

    config.add_cleanup(end)


@pytest.fixture(scope="session")
def shared() -> Path:
    """A folder that all workers know."""
    return Path(os.environ[SHARED])


@contextmanager
def turn(lock: Path, kind: int = fcntl.LOCK_EX) -> Iterator[None]:
    with lock.open("w") as stream:
        fcntl.flock(stream, kind)
        yield


@pytest.fixture(scope="session")
def node(shared: Path) -> Cluster:
    """Running until the last test has ended."""
    node, failed = Cluster(shared / "slurm"), shared / "no-slurm"
    with turn(shared / "slurm.lock"):
        if not node.folder.exists() and not failed.exists():
            try:
                install()
                node.start()
            except NoSlurmError as error:
                failed.write_text(str(error))
    if failed.exists():
        pytest.fail(f"No Slurm here: {failed.read_text()}", pytrace=False)
    return node


@pytest.fixture
def cluster(node: Cluster, shared: Path, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Slurm, which other tests use as well, but for those marked ``whole_slurm``."""
    whole = request.node.get_closest_marker("whole_slurm") is not None
    with turn(shared / "use.lock", fcntl.LOCK_EX if whole else fcntl.LOCK_SH):
        yield node
        if whole:
            node.start_node()


@pytest.fixture(scope="session")
def finished(shared: Path) -> Interrupted:
    """The small study up to its tables, run on this machine without Slurm, once for all."""
    with turn(shared / "local.lock"):
        if not (shared / "finished").exists():
            workspace = fresh(shared / "unfinished")
            workspace.change_study(small_study)
            done = workspace.run("tables")
            assert done.returncode == 0, done.stdout
            workspace.path.rename(shared / "finished")
    return Interrupted(Workspace(shared / "finished"))


@pytest.fixture
def study(cluster: Cluster, finished: Interrupted, tmp_path: Path) -> Iterator[Submitted]:
    """A copy of the finished study, of which a test removes what it wants to make again.

    Whatever happened to its jobs, nothing of them runs in the end.
    """
    path = tmp_path / "workspace"
    shutil.copytree(finished.workspace.path, path, symlinks=True)
    copy = Submitted(Workspace(path))
    yield copy
    left = copy.left_running()
    copy.end_all()
    shutil.rmtree(path)
    assert left == []
