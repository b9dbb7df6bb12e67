"""The page about the code names files and functions that are there, and shows today's rooms."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def test_its_files_are_there() -> None:
    rooms = {path.parent.name for path in (ROOT / "kdpipe").glob("*/__init__.py")}
    named = set(re.findall(r"`((?:\w+/)+\w+\.(?:py|smk))", PAGE))
    assert len(named) > 20
    for name in named:
        inside = "kdpipe/" + name if name.split("/")[0] in rooms else name
        assert (ROOT / inside).is_file(), name


@pytest.mark.parametrize(
    ("file", "function"),
    sorted(set(re.findall(r"`(kdpipe/[\w/]+\.py)`, (?:function )?`(\w+)`", PAGE))),
)
def test_its_functions_are_there(file: str, function: str) -> None:
    assert f"def {function}(" in (ROOT / file).read_text(encoding="utf-8")


def test_its_picture_is_of_today(tmp_path: Path) -> None:
    path = ROOT / "docs" / "structure.py"
    spec = importlib.util.spec_from_file_location("docs_structure", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    drawn = (ROOT / "docs" / "architecture.svg").read_text(encoding="utf-8")
    structure = module.Structure(ROOT)
    assert structure.circles() == []
    # Numbers of lines change with every commit; which rooms there are does not.
    for room in structure.arrows:
        assert f"<!-- {room} " in drawn, f"draw it again: {module.__doc__}"
