"""Patterns of `weights.key_map`."""

from __future__ import annotations

import pytest
import torch

from kdpipe.base.errors import KdpipeError
from kdpipe.models.weights import find
from kdpipe.models.weights.find import _renamed

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
