"""Every number in the gallery stands in the results of the study that it names."""

from __future__ import annotations

import re

import pytest

from helpers.places import DOCS

SECTIONS = re.split(r"^## ", (DOCS / "gallery.md").read_text(encoding="utf-8"), flags=re.M)[1:]


def named(section: str) -> str:
    return section.partition("\n")[0]


@pytest.mark.parametrize("section", SECTIONS, ids=named)
def test_what_is_said_is_what_was_measured(section):
    picture = re.search(r"\]\(results/([\w-]+)/figures/answer\.svg\)", section)
    assert picture is not None
    page = (DOCS / "results" / picture[1] / "verdicts.md").read_text(encoding="utf-8")
    table = page.partition("## The answer")[2].partition("## Every claim")[0]
    own = section.partition("\nFrom [")[0].replace("\n", " ")
    numbers = re.findall(r"\d+\.\d+", own)
    assert len(numbers) >= 3
    shown = re.findall(r"\d+\.\d+", table)
    assert set(numbers) <= set(shown), set(numbers) - set(shown)


@pytest.mark.parametrize("section", SECTIONS, ids=named)
def test_a_section_is_one_picture_and_two_sentences(section):
    assert section.count("![") == 1
    text = section.partition("answer.svg)")[2].partition("\nFrom [")[0]
    sentences = re.findall(r"\S[^.]*(?:\.\d[^.]*)*\.(?=\s|$)", text.strip())
    assert len(sentences) == 2, sentences
