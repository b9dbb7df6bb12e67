"""Folders of networks, whatever their methods are called."""

from __future__ import annotations

import pytest

from helpers.any_names import NAMES
from kdpipe.base.paths import StudentRef, folder_name, from_folder_name, parse_network


@pytest.mark.parametrize("name", [*NAMES, "..", ".", "a/b", "../../x", "~", "kl", "a\\b"])
def test_a_method_is_a_folder_and_comes_back(name):
    ref = StudentRef(pair="p", method=name, seed=3)
    students, pair, folder, seed = ref.path.split("/")
    assert (students, pair, seed) == ("students", "p", "seed3")
    assert set(folder) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_~-")
    assert parse_network(ref.path) == ref
    assert from_folder_name(folder) == name
    assert folder_name("soft_label-2") == "soft_label-2"
    assert folder_name("../kl") == "~2E~2E~2Fkl"  # no way out of the results


def test_methods_do_not_share_a_folder():
    names = [*NAMES, "a b", "a~20b", "a_b", "A b"]
    assert len({folder_name(name) for name in names}) == len(names)
