"""The code blocks of the documentation, which tests run as printed."""

from __future__ import annotations

import re

from helpers.places import DOCS

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of one language on a page of docs/, in order."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return [code for name, code in _BLOCK.findall(text) if name == language]
