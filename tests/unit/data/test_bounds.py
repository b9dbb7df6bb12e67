"""Limits for hostile files and patterns."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from helpers.places import TESTS
from kdpipe.base.errors import KdpipeError
from kdpipe.base.options import Options
from kdpipe.models.weights import find
from kdpipe.models.weights.find import _renamed
from kdpipe.probes.base import ProbeOptions

STATE = {"a" * 40 + "!": torch.zeros(1), "fc.weight": torch.ones(1)}


def test_a_pattern_that_goes_on_for_ever_ends_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(find, "RENAMING_SECONDS", 0.5)
    with pytest.raises(
        KdpipeError, match=r"w\.pt: the patterns of weights\.key_map \('\^\(a\+\)\+"
    ):
        _renamed(STATE, {"^(a+)+$": "b"}, "w.pt")


def test_patterns_rename_in_turn() -> None:
    found = _renamed(STATE, {r"^fc\.(.*)": r"head.\1", "^head": "top", "!$": None}, "w.pt")
    assert list(found) == ["top.weight"]
    assert found["top.weight"] is STATE["fc.weight"]
    with pytest.raises(KdpipeError, match="gives two tensors the name 'x'"):
        _renamed(STATE, {"^.*$": "x"}, "w.pt")


class Place(Options):
    x: int


class ListedOptions(ProbeOptions):
    places: list[Place] = []
    steps: list[dict[str, int]] = []


def test_options_that_are_lists_of_mappings() -> None:
    made = ListedOptions(places=[{"x": 1}, {"x": 2}], steps=[{"a": 1}, {"a": 2}])
    assert len(made.places) == 2
    for twice in ({"places": [{"x": 1}, {"x": 1}]}, {"steps": [{"a": 1}, {"a": 1}]}):
        with pytest.raises(ValueError, match="an entry is listed twice"):
            ListedOptions(**twice)


CUT = """
import sys
from pathlib import Path
from helpers import miniature
from kdpipe.data.sources import sources
root = Path(sys.argv[1])
miniature.parquet(root / "hub" / "train-0.parquet", list(range(400)), [0, 1] * 200)
file = root / "hub" / "train-0.parquet"
cls = sources.get("parquet")
source = cls(cls.Options(path="hub"), root)
refs = source.listing().refs
with open(file, "r+b") as stream:
    stream.truncate(4096)
try:
    source.fetch(refs)
except Exception as error:
    print(type(error).__name__, error)
"""


def test_a_parquet_file_that_is_cut_short_while_it_is_read(tmp_path: Path) -> None:
    """In a process of its own: of a mapped file the kernel ends it."""
    done = subprocess.run(
        [sys.executable, "-c", CUT, str(tmp_path)],
        cwd=TESTS,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("KdpipeError ")
    assert "train-0.parquet" in done.stdout
