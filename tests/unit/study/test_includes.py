"""A study that includes others: precedence of keys, and search for files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from helpers.places import TINY
from kdpipe.base.errors import KdpipeError
from kdpipe.study.includes import home, laid_over, read
from kdpipe.study.schema import parse


def write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def test_mappings_are_merged_and_anything_else_replaced() -> None:
    base = {"a": {"b": 1, "c": [1, 2]}, "d": "x", "e": {"f": 1}}
    top = {"a": {"c": [3], "g": 2}, "d": {"h": 1}, "e": None}
    assert laid_over(base, top) == {"a": {"b": 1, "c": [3], "g": 2}, "d": {"h": 1}, "e": None}
    assert list(laid_over(base, top)) == ["a", "d", "e"]  # and keys stay in their order
    assert base["a"] == {"b": 1, "c": [1, 2]}


def test_later_files_win_over_earlier_ones_and_the_file_itself_over_all(tmp_path: Path) -> None:
    write(tmp_path / "parts" / "one.yaml", {"x": 1, "y": 1, "z": 1})
    write(tmp_path / "parts" / "two.yaml", {"include": "one.yaml", "x": 2, "y": 2})
    write(tmp_path / "three.yaml", {"w": 3, "x": 3})
    names = ["three.yaml", "parts/two.yaml"]
    path = write(tmp_path / "study.yaml", {"include": names, "x": 4})
    assert read(path) == {"w": 3, "x": 4, "y": 2, "z": 1}
    # The same file by two ways is no circle.
    path = write(tmp_path / "again.yaml", {"include": ["parts/one.yaml", "parts/two.yaml"]})
    assert read(path) == {"x": 2, "y": 2, "z": 1}


def refusal(path: Path) -> str:
    with pytest.raises(KdpipeError) as caught:
        read(path)
    return str(caught.value)


def test_what_cannot_be_included_is_said(tmp_path: Path) -> None:
    path = write(tmp_path / "study.yaml", {"include": "absent.yaml"})
    assert refusal(path) == f"{path}: include: There is no study file {tmp_path / 'absent.yaml'}."
    write(path, {"include": {"a": 1}})
    assert refusal(path) == f"{path}: include: give a file or a list of files."
    other = write(tmp_path / "other.yaml", {"include": "study.yaml"})
    write(path, {"include": "other.yaml"})
    assert refusal(path) == f"{other}: include: {path} includes itself; take one of them out."
    write(other, ["a", "list"])
    assert refusal(path) == f"{other}: a file to include is a mapping with keys of a study."
    other.write_text("a: [")
    assert refusal(path).startswith(f"{other} is not readable as YAML: ")


def test_includes_start_at_the_last_file_that_has_some(tmp_path: Path) -> None:
    one = write(tmp_path / "one" / "a.yaml", {"include": "x.yaml"})
    two = write(tmp_path / "two" / "b.yaml", {"title": "no more"})
    assert home([one, two]) == one.parent
    assert home([]) == Path()


def test_conditions_of_the_paper_are_shared_by_pairs() -> None:
    raw = yaml.safe_load(TINY.read_text())
    raw["paper_conditions"] = {"domain=grey": "a", "domain=colour": ["b", "c"]}
    raw["pairs"]["answers"]["paper_conditions"] = {"domain=grey": "own"}
    pairs = parse(raw).pairs
    assert pairs["answers"].paper_conditions == {"domain=grey": "own", "domain=colour": ["b", "c"]}
    assert pairs["features"].paper_conditions == {"domain=grey": "a", "domain=colour": ["b", "c"]}
    with pytest.raises(KdpipeError, match="paper_conditions: give a mapping"):
        parse({**raw, "paper_conditions": ["a"]})
