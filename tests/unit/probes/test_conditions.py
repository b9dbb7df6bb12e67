"""Conditions of records, with any character in their values."""

from __future__ import annotations

import pytest

from helpers.any_names import NAMES
from kdpipe.probes.shared.conditions import condition, condition_values


@pytest.mark.parametrize("name", NAMES)
def test_conditions_give_back_what_they_were_given(name):
    text = condition(domain=name, group=name, strength=0.4)
    assert condition_values(text) == {"domain": name, "group": name, "strength": "0.4"}
    assert text.count(";") == 2
    assert text.count("=") == 3


def test_conditions_of_plain_names_are_as_before():
    assert condition(domain="grey", strength=0.4) == "domain=grey;strength=0.4"
    assert condition(domain="Real World") == "domain=Real World"
