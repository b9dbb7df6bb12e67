"""Checks of any kind of plug-in: their names, and what they say of options."""

from __future__ import annotations

import pytest

from kdpipe.base.errors import KdpipeError
from kdpipe.testing import checks_of_objective, checks_of_source


def test_a_check_is_named_and_says_its_contract():
    check = checks_of_objective("kl")[0]
    assert check.__name__ == "registered_under_its_name"
    assert repr(check) == "<check registered_under_its_name of KL 'kl'>"
    assert "The registry gives the class" in check.__doc__


def test_options_without_a_default_are_asked_for():
    with pytest.raises(KdpipeError, match="'path' is required; give those that have no default"):
        checks_of_source("image_folder")
    with pytest.raises(KdpipeError, match="There is no objective called 'nothing'"):
        checks_of_objective("nothing")
