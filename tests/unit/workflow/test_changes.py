"""Descriptions of changed settings."""

from __future__ import annotations

import pytest

from kdpipe.workflow import changes

SETTINGS = {
    "a number": ({"lr": 0.1}, {"lr": 0.2}, ["`lr` changed from 0.1 to 0.2"]),
    "nothing": ({"a": [1, {"b": 2}]}, {"a": [1, {"b": 2}]}, []),
    "deep inside": (
        {"recipe": {"sgd": {"lr": 1}}},
        {"recipe": {"sgd": {"lr": 2}}},
        ["recipe.sgd: `lr` changed from 1 to 2"],
    ),
    "of a named thing in a list": (
        {"instances": [{"name": "a", "probe": {"options": {"k": 1}}}, {"name": "b"}]},
        {"instances": [{"name": "b"}, {"name": "a", "probe": {"options": {"k": 2}}}]},
        ["a: `k` changed from 1 to 2"],
    ),
    "one more named thing": (
        {"instances": [{"name": "a", "x": 1}]},
        {"instances": [{"name": "a", "x": 1}, {"name": "b", "x": 1}]},
        ["`b` is new"],
    ),
    "one fewer": ({"a": 1, "b": 2}, {"a": 1}, ["`b` is gone"]),
    "a new option": ({"a": 1}, {"a": 1, "b": 2}, ["`b` is new (2)"]),
    "no value": ({"a": None}, {"a": []}, ["`a` changed from none to []"]),
    "a list of values": ({"a": [1, 2]}, {"a": [1]}, ["`a` changed from [1, 2] to [1]"]),
}


@pytest.mark.parametrize("case", SETTINGS)
def test_settings(case):
    old, new, expected = SETTINGS[case]
    assert changes.settings(old, new) == expected


def test_long_values_are_cut():
    (sentence,) = changes.settings({"a": "x" * 500}, {"a": "y"})
    assert len(sentence) < 120


def test_files():
    old = {"kdpipe.a": "1", "kdpipe.b.c": "1", "kdpipe.d": "1"}
    assert changes.files(old, old) == []
    assert changes.files(old, {**old, "kdpipe.b.c": "2"}) == ["kdpipe/b/c.py changed"]
    fewer = {k: v for k, v in old.items() if k != "kdpipe.a"}
    assert changes.files(old, fewer) == ["kdpipe/a.py is no longer used"]
    assert changes.files(fewer, old) == ["kdpipe/a.py is used now"]


def test_versions():
    found = changes.versions(
        {"torch": "1", "scipy": "2"}, {"torch": "3", "scipy": "2", "numpy": "4"}
    )
    assert found == ["numpy was absent and is 4", "torch was 1 and is 3"]
