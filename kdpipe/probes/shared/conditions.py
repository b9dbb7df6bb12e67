"""Conditions of measurements, ``key=value;…``: written and read in one place."""

from __future__ import annotations

import re
from urllib.parse import unquote


def condition(**parts: object) -> str:
    """``key=value;…`` in the given order. What would end a value (``;``, ``=``) is written as
    ``%3B``, ``%3D``, and ``%`` as ``%25``, as in addresses; so are line breaks."""
    return ";".join(f"{key}={_escaped(str(value))}" for key, value in parts.items())


def condition_values(text: str) -> dict[str, str]:
    """The parts of a condition, as they were before it was written."""
    pairs = (part.partition("=") for part in text.split(";") if part)
    return {key: unquote(value) for key, _, value in pairs}


def _escaped(value: str) -> str:
    return re.sub(r"[%;=\x00-\x1f\x7f]", lambda found: f"%{ord(found[0]):02X}", value)
