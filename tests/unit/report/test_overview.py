"""The overview repeats the verdicts, property by property, under the headings of the chapters."""

from __future__ import annotations

import re

import pandas as pd
import pytest

from helpers import synthetic_study
from kdpipe.probes import probes
from kdpipe.probes.shared.description import Described
from kdpipe.report import overview
from kdpipe.results import verdicts, words
from kdpipe.stages.base import Call
from kdpipe.stages.report import ReportSettings, run


def ended(*, given: bool = False) -> pd.DataFrame:
    made = synthetic_study.tables()
    rows, none = made["transfer"], made["transfer"].head(0)
    return overview.claims(*((none, rows) if given else (rows, none)), made["controls"])


def test_every_builtin_property_has_a_chapter_and_every_chapter_but_the_last_has_some():
    found = words.chapters(probes.names())
    assert [h for h in words.CHAPTERS.values() if h in found] == list(found)
    assert set(words.CHAPTERS.values()) - set(found) == {words.CHAPTERS[Described.chapter]}
    assert sorted(p for part in found.values() for p in part) == sorted(probes.names())


def test_properties_of_a_chapter_stand_in_their_places():
    assert words.chapters(["fidelity", "unknown", "crop", "accuracy", "colour"]) == {
        "Answers and errors": ["accuracy", "fidelity"],
        "Invariances": ["colour", "crop"],
        "Further properties": ["unknown"],
    }


def test_chapters_of_plug_ins_stand_before_the_further_ones(monkeypatch):
    chapters = {
        "a": "further",
        "b": "zebra_crossings",
        "c": "fairness",
        "d": "Fairness and privacy",
    }
    monkeypatch.setattr(
        words, "described", lambda p: type("Said", (Described,), {"chapter": chapters[p]})
    )
    assert words.chapters("abcd") == {
        "Fairness and privacy": ["c", "d"],
        "Zebra crossings": ["b"],
        "Further properties": ["a"],
    }


def test_every_claim_stands_once_in_the_overview():
    claims = ended()
    made = overview.overview(claims, list(claims["probe"].unique()))
    at = {words.method_words(m): m for m in claims["method"]}
    shown = [
        (row.probe, row.pair, at[method], mark.key)
        for chapter in made.chapters
        for row in chapter.rows
        for method, mark in zip(made.methods, row.marks, strict=True)
        if mark is not None
    ]
    columns = ["probe", "pair", "method", "finding"]
    assert sorted(shown) == sorted(claims[columns].itertuples(index=False, name=None))
    assert {"transferred", "opposite", verdicts.NO_FINDING, "no gap"} <= {s[3] for s in shown}


def test_a_share_is_told_only_where_something_moved():
    claims = ended()
    for chapter in overview.overview(claims, list(claims["probe"].unique())).chapters:
        for mark in (m for row in chapter.rows for m in row.marks if m is not None):
            assert ("%" in mark.cell.text) == (mark.key in ("transferred", "opposite"))


def test_a_measured_property_without_a_claim_is_listed():
    claims = ended()
    rows = overview.overview(claims, ["colour", "mine"]).chapters[-1].rows
    assert rows == [overview.Row("mine", "Mine", "", [None] * claims["method"].nunique())]
    assert overview.answer(claims, "mine") == []


def test_the_answer_of_a_property_names_every_method_under_its_finding():
    claims = ended()
    parts = {p.key: p.text for p in overview.answer(claims, "crop")}
    assert re.fullmatch(r"KL \d+\s% of the gap", parts["transferred"])
    assert parts["opposite"].startswith("Hint \N{MINUS SIGN}")
    both = overview.answer(claims, "accuracy")
    assert both[0].lead == "Distilled"
    assert all(p.text.endswith(("(main)", "(colour)")) for p in both)


def test_nothing_given_is_called_distilled():
    claims = ended(given=True)
    said = [p.lead.lower() for probe in claims["probe"].unique() for p in
            overview.answer(claims, probe)]  # fmt: skip
    assert "beyond the baselines" in said
    assert not any("distilled" in lead for lead in said)


@pytest.mark.parametrize("probes_of", [("colour", "cka"), ("my_probe",)])
def test_the_page_has_a_heading_for_each_chapter_and_folds_what_is_below(tmp_path, probes_of):
    made = synthetic_study.tables(probes=("colour", "cka"))
    if probes_of == ("my_probe",):
        made = {n: f.assign(probe="my_probe") if "probe" in f else f for n, f in made.items()}
    root = synthetic_study.write(tmp_path / "study", made)
    run(ReportSettings(study="s", title="t", figures=[]), Call(root, root / "report.html"))
    page = (root / "report.html").read_text(encoding="utf-8")
    chapters = words.chapters(probes_of)
    for heading, names in chapters.items():
        assert page.count(f"<h2>{heading}</h2>") == 1
        for name in names:
            section = page[page.index(f'<section id="{name}"') :]
            assert f'href="#{name}"' in page
            assert section.index('class="answer"') < section.index("<details")
            assert section.index("<details") < section.index("<table") < section.index("</section>")
    assert "<details open" not in page
