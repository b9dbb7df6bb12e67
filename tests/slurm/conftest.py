"""A Slurm of one node for all tests here, a study that ran without it, and copies of that."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "workflow"))
sys.path.insert(0, str(Path(__file__).parents[1] / "faults"))
from cluster import Cluster, NoSlurmError, install
from faults import ALONE, Interrupted, small_study
from submitted import Submitted
from workspace import Workspace, fresh


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Running from the first test to the last, and stopped whatever they do."""
    try:
        install()
    except NoSlurmError as error:
        pytest.fail(f"No Slurm here: {error}", pytrace=False)
    node = Cluster(tmp_path_factory.mktemp("slurm"))
    try:
        node.start()
        yield node
    except NoSlurmError as error:
        pytest.fail(f"Slurm does not start here: {error}", pytrace=False)
    finally:
        node.stop()


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Interrupted:
    """The small study up to its tables, run on this machine without Slurm."""
    workspace = fresh(tmp_path_factory.mktemp("local") / "workspace")
    workspace.change_study(small_study)
    done = workspace.run("tables", **ALONE)
    assert done.returncode == 0, done.stdout
    return Interrupted(workspace)


@pytest.fixture
def study(cluster: Cluster, finished: Interrupted, tmp_path: Path) -> Iterator[Submitted]:
    """A copy of the finished study, of which a test removes what it wants to make again."""
    path = tmp_path / "workspace"
    shutil.copytree(finished.workspace.path, path, symlinks=True)
    copy = Submitted(Workspace(path))
    yield copy
    copy.end_all()
    shutil.rmtree(path)
