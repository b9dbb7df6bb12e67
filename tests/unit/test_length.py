"""A file holds one idea; a long one says why: ``Long, because …`` in its docstring."""

from __future__ import annotations

import ast

import pytest

from helpers.places import REPOSITORY

MOST = 400
"""Lines of a file that says nothing about its length."""
FILES = sorted(
    path for top in ("kdpipe", "tests", "benchmarks") for path in (REPOSITORY / top).rglob("*.py")
)


def says_why(text: str) -> bool:
    return "Long, because " in (ast.get_docstring(ast.parse(text)) or "")


def is_short(text: str) -> bool:
    return len(text.splitlines()) <= MOST


def test_a_long_file_says_why() -> None:
    texts = {path: path.read_text(encoding="utf-8") for path in FILES}
    silent = [path for path, text in texts.items() if not (is_short(text) or says_why(text))]
    assert len(FILES) > 400
    assert not [str(path.relative_to(REPOSITORY)) for path in silent]


@pytest.mark.parametrize(
    ("docstring", "kept"),
    [("What it is.\n\nLong, because every case stands here.", True), ("What it is.", False)],
)
def test_the_reason_stands_in_the_docstring(docstring: str, kept: bool) -> None:
    lines = "x = 'Long, because this is no docstring'\n" * (MOST + 1)
    assert says_why(f'"""{docstring}"""\n{lines}') is kept
    assert not is_short(lines)
    assert is_short("x = 1\n" * MOST)
