"""The report cites kdpipe as CITATION.cff does."""

from __future__ import annotations

import yaml

from helpers.places import REPOSITORY
from kdpipe.report.cite import AUTHORS, PAPER, TITLE, cite


def test_cite_is_the_citation_file():
    known = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
    assert known["title"] == TITLE
    assert [author["name"] for author in known["authors"]] == [AUTHORS]
    (paper,) = known["references"]
    for author in paper["authors"]:
        assert f"{author['family-names']}, {author['given-names'][0]}." in PAPER
    for part in (paper["title"], str(paper["year"]), paper["identifiers"][0]["value"]):
        assert part in PAPER


def test_the_study_is_named_with_the_version():
    assert cite("mini", "mini", "1.2")[0].startswith(f"mini. {AUTHORS}: {TITLE}, version 1.2")
    assert cite("mini", "A title", "1.2")[0].startswith("A title (study “mini”). ")
