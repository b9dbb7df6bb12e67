"""The rooms of the package: few, described, and none imports from one above it."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import grimp
import pytest

import kdpipe

TOP = Path(kdpipe.__file__).parent
ROOMS = sorted(path.parent.name for path in TOP.glob("*/__init__.py"))


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("kdpipe", exclude_type_checking_imports=True, cache_dir=None)


def arrows(graph: grimp.ImportGraph) -> set[tuple[str, str]]:
    found = set()
    for module in graph.modules:
        for imported in graph.find_modules_directly_imported_by(module):
            rooms = [name.split(".")[1] for name in (module, imported) if "." in name]
            if len(rooms) == 2 and rooms[0] != rooms[1]:
                found.add((rooms[0], rooms[1]))
    return found


def test_only_the_command_line_stands_at_the_top() -> None:
    loose = {path.name for path in TOP.glob("*.py")}
    assert loose == {"__init__.py", "__main__.py", "cli.py"}


def test_rooms_and_arrows_are_few(graph: grimp.ImportGraph) -> None:
    assert len(ROOMS) <= 22
    assert len(arrows(graph)) <= 100


def test_there_is_no_circle(graph: grimp.ImportGraph) -> None:
    """Which room stands above which is held by ``lint-imports``."""
    below = arrows(graph)
    while True:
        further = {(a, d) for a, b in below for c, d in below if b == c} - below
        if not further:
            break
        below |= further
    assert not {a for a, b in below if a == b}


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_says_what_lives_there_and_what_it_imports(room: str) -> None:
    text = importlib.import_module(f"kdpipe.{room}").__doc__ or ""
    assert len(text) > 100
    assert "Imports" in text


def test_the_schema_of_a_study_loads_no_torch() -> None:
    code = "import sys, kdpipe.study.schema; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
