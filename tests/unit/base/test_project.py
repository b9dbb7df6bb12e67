"""The files beside the package, in a clone and in an installed wheel."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.places import REPOSITORY
from kdpipe.base import project
from kdpipe.base.errors import KdpipeError


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder of installed packages, with kdpipe's files as a wheel brings them."""
    inside = tmp_path / "site" / "kdpipe" / project.INSIDE
    (inside / "studies").mkdir(parents=True)
    (inside / "Snakefile").touch()
    return tmp_path / "site"


def test_a_clone_is_found_beside_the_package():
    assert project.clone() == project.place() == REPOSITORY
    assert project.place("Snakefile") == REPOSITORY / "Snakefile"
    assert project.place("profiles/slurm").is_dir()


def test_an_installed_package_holds_its_files(site):
    package = site / "kdpipe"
    assert project.clone(package) is None
    assert project.place("studies", package) == package / project.INSIDE / "studies"
    (site / "Snakefile").touch()  # of somebody else
    assert project.place("Snakefile", package) == package / project.INSIDE / "Snakefile"
    assert project.clone(package) is None


def test_what_is_missing_is_said(site, tmp_path):
    with pytest.raises(KdpipeError, match=r"studies/none\.yaml is missing; run kdpipe from a"):
        project.place("studies/none.yaml", site / "kdpipe")
    (tmp_path / "bare" / "kdpipe").mkdir(parents=True)
    with pytest.raises(KdpipeError, match="is missing"):
        project.place("", tmp_path / "bare" / "kdpipe")
    assert project.clone(tmp_path / "bare" / "kdpipe") is None


def test_another_python_finds_kdpipe_and_no_package_beside_it(site, tmp_path):
    package = site / "kdpipe"
    (site / "torch").mkdir()
    for _ in range(2):
        folder = project.alone(tmp_path / "work", package)
        assert [path.name for path in folder.iterdir()] == ["kdpipe"]
        assert (folder / "kdpipe" / project.INSIDE / "Snakefile").is_file()
    newer = package.rename(tmp_path / "kdpipe")  # after an installation elsewhere
    assert project.alone(tmp_path / "work", newer) == folder
    assert (folder / "kdpipe" / project.INSIDE).is_dir()
    assert project.alone(tmp_path / "work") == REPOSITORY
