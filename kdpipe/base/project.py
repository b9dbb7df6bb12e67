"""Where the files beside the package are: the Snakefile and its rules, studies, profiles.

In a clone they stand beside the package. A wheel holds them inside the package, where its build
copies them (``pyproject.toml``).
"""

from __future__ import annotations

import os
from pathlib import Path

import kdpipe
from kdpipe.base.errors import KdpipeError

PACKAGE = Path(kdpipe.__file__).absolute().parent
INSIDE = "_project"
"""Folder of the installed package, with the layout of the clone."""


def place(name: str = "", package: Path = PACKAGE) -> Path:
    """The file or folder ``name``, such as ``Snakefile`` or ``studies/mnist.yaml``; without a name
    the folder of all. Raises KdpipeError where it is missing."""
    inside = package / INSIDE
    folder = inside if inside.is_dir() else package.parent
    found = folder / name
    if not found.exists() or not (folder / "Snakefile").is_file():
        raise KdpipeError(
            f"{found} is missing; run kdpipe from a clone, or from a wheel that was built in one."
        )
    return found


def clone(package: Path = PACKAGE) -> Path | None:
    """The clone that the package is used from; None where it is installed."""
    is_clone = not (package / INSIDE).is_dir() and (package.parent / "Snakefile").is_file()
    return package.parent if is_clone else None


def alone(folder: Path, package: Path = PACKAGE) -> Path:
    """A folder for ``PYTHONPATH`` by which another Python finds this kdpipe: the clone, or one
    below ``folder`` that holds a link to the installed package and none of the packages beside it,
    which are for the Python that they were installed for."""
    if (found := clone(package)) is not None:
        return found
    link = folder.absolute() / package.name / package.name
    if not link.is_symlink() or Path(os.readlink(link)) != package:
        link.parent.mkdir(parents=True, exist_ok=True)
        fresh = link.with_name(f"{package.name}.{os.getpid()}")
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(package, target_is_directory=True)
        os.replace(fresh, link)
    return link.parent
