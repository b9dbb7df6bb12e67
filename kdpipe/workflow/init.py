"""``kdpipe init``: a folder with a small study to change, and what it takes to run it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Annotated

import typer

from kdpipe.base.errors import KdpipeError
from kdpipe.base.project import place

TEMPLATES = Path(__file__).with_name("new_project")


def init(
    folder: Annotated[Path, typer.Argument(help="A new or empty folder; '.' for this one.")],
) -> None:
    """Write a small project: a study on embedded images, a profile for a cluster, a README."""
    write(folder)
    print(f"{folder / 'study.yaml'} is your first study. Run it with")
    if folder.resolve() != Path.cwd():
        print(f"  cd {folder}")
    print("  kdpipe snakemake study.yaml --cores 2")


def write(folder: Path) -> None:
    """Write the files of a project to ``folder``, all of them or none.

    Raises KdpipeError for a folder that holds anything, and where it cannot be written.
    """
    files = {
        "study.yaml": TEMPLATES / "study.yaml",
        "README.md": TEMPLATES / "README.md",
        ".gitignore": TEMPLATES / "gitignore",
        "schema.json": place("studies/schema.json"),
        "profiles/slurm/config.yaml": place("profiles/slurm/config.yaml"),
    }
    _check_empty(folder)
    there = folder.is_dir()
    try:
        for name, source in files.items():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    except OSError as error:
        _remove(folder, keep=there)
        raise KdpipeError(f"{folder} cannot be written to: {error.strerror}.") from None


def _check_empty(folder: Path) -> None:
    if folder.is_dir():
        if any(os.scandir(folder)):
            raise KdpipeError(f"{folder} is not empty; name a new folder for the project.")
    elif folder.exists() or folder.is_symlink():
        raise KdpipeError(f"{folder} is a file; name a new folder for the project.")


def _remove(folder: Path, keep: bool) -> None:
    """What was written to a folder that was empty; the folder as well unless ``keep``."""
    for part in folder.iterdir() if folder.is_dir() else ():
        shutil.rmtree(part) if part.is_dir() else part.unlink()
    if not keep and folder.is_dir():
        folder.rmdir()
