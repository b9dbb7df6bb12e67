"""What a check of ``kdpipe.testing`` says of a plug-in that breaks a contract."""

from __future__ import annotations

import pytest

from kdpipe.testing import ContractError


def said(made, contract: str) -> str:
    """What the check of that contract says of a plug-in that breaks it."""
    (check,) = (c for c in made if c.__name__ == contract)
    with pytest.raises(ContractError) as caught:
        check()
    text = str(caught.value)
    assert f" breaks '{contract}': " in text
    assert ". Contract: " in text
    assert "\n" not in text
    return text


def named(registry, cls):
    """The class under a name that no study uses."""
    return registry.register(f"trial_{cls.__name__.lower()}")(cls)
