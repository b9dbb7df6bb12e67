"""The report agrees with the verdicts, and is one self-contained file."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from helpers import synthetic_study
from kdpipe.base.errors import KdpipeError
from kdpipe.report import sentences, values
from kdpipe.results import words
from kdpipe.stages.base import Call
from kdpipe.stages.figures import FiguresSettings
from kdpipe.stages.figures import run as draw
from kdpipe.stages.report import ReportSettings, run

FIGURES = ["transfer", "colour", "cka", "training", "paper"]
VOID = {"meta", "link", "br", "img", "hr", "input"}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    root = synthetic_study.write(tmp_path_factory.mktemp("study") / "made_up")
    settings = FiguresSettings(study="made_up", figures=FIGURES, networks=synthetic_study.NETWORKS)
    draw(settings, Call(root, root / "figures"))
    return root


def report(root, name="report.html", **changes):
    settings = ReportSettings(
        **{
            "study": "made_up",
            "title": "Students & <teachers>",
            "figures": FIGURES,
            "summary": {"seeds": [0, 1, 2], "recipe": {"optimiser": "sgd"}},
            "networks": synthetic_study.NETWORKS,
            **changes,
        }
    )
    run(settings, Call(root, root / name))
    return (root / name).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(study):
    return report(study)


class Strict(HTMLParser):
    """Collects ids, links and sources; fails where tags do not nest."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.targets: list[str] = []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)
        self._collect(attrs)

    def handle_startendtag(self, tag, attrs):
        self._collect(attrs)

    def _collect(self, attrs):
        self.ids += [v for k, v in attrs if k == "id"]
        self.targets += [v for k, v in attrs if k in ("href", "src", "xlink:href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_html_nests_and_ids_are_unique(page):
    parser = Strict()
    parser.feed(page)
    assert parser.open == []
    inside = {t for t in parser.targets if t.startswith("#")}
    assert {t[1:] for t in inside} <= set(parser.ids)
    assert len(parser.ids) == len(set(parser.ids))


def test_needs_no_other_file(page):
    parser = Strict()
    parser.feed(page)
    assert all(t.startswith(("#", "data:")) for t in parser.targets)
    assert "@import" not in page
    elsewhere = set(re.findall(r"https?://[^\s\"'<)]+", page))
    assert elsewhere <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}


def test_same_bytes_and_escaped_text(study, page):
    assert report(study, "again.html") == page
    assert "Students &amp; &lt;teachers&gt;" in page


def test_shows_figures_settings_and_provenance(page):
    assert page.count("<svg") == len(FIGURES)
    assert "sgd" in page
    assert "2.11.0" in page
    assert f"{13:016x}" in page
    assert page.index('id="answer"') < page.index('id="colour"') < page.index('id="curves"')


def test_a_missing_figure_is_named(study):
    with pytest.raises(KdpipeError, match=r"crop\.svg is missing"):
        report(study, figures=["crop"])


def one_claim(verdict: str, **changes) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The colour claim of KL alone, with the verdict that the test is about."""
    made = synthetic_study.tables(probes=("colour",), methods=("kl",))
    rows, controls = made["transfer"], made["controls"].assign(inside=False)
    rows = rows[rows["primary"] & (rows["role"] == "claim")].assign(
        verdict=verdict, gap_closed=0.64, closed_low=0.4, closed_high=0.88, **changes
    )
    return rows, controls


def said(rows: pd.DataFrame, controls: pd.DataFrame) -> str:
    parts = [f"{g.heading} {g.meaning} {line}" for g in sentences.groups(rows, controls)
             for line in (f"{x.about}: {x.text}" for x in g.lines)]  # fmt: skip
    return " ".join(parts).replace("\N{NO-BREAK SPACE}", " ")


def test_a_transferred_property_is_said_with_its_numbers():
    text = said(*one_claim("transferred", n_seeds_ind=5))
    assert text.startswith("Distilled (1)")
    assert (
        "Colour invariance (pair colour; strength 0.4): KL closes 64 % of the gap [40, 88]" in text
    )
    assert "3 against 5 seeds, n = 899" in text


@pytest.mark.parametrize("verdict", ["inconclusive", "no gap", "not transferred", "opposite"])
def test_nothing_else_is_called_distilled(verdict):
    rows, controls = one_claim(verdict)
    headings = [g.heading for g in sentences.groups(rows, controls)]
    assert len(headings) == 1
    assert not headings[0].startswith("Distilled")
    assert "1 distilled" not in sentences.counted(rows, controls)


def test_an_undecided_property_is_no_claim_either_way():
    text = said(*one_claim("inconclusive"))
    assert text.startswith("Undecided")
    assert "closes" not in text


def test_no_gap_speaks_of_no_share_of_it():
    rows, controls = one_claim("no gap")
    rows = rows.assign(gap_closed=np.nan, gap=0.012, gap_low=-0.01, gap_high=0.034)
    text = said(rows.assign(reason="not measurable"), controls)
    assert "closes" not in text
    assert "nan" not in text
    assert "gap +1.2 pp [−1.0, +3.4], not measurable" in text
    small = rows.assign(reason="smaller than min_gap", gap_low=0.008, gap_high=0.016)
    assert "gap +1.2 pp [+0.8, +1.6], smaller than 2.0 pp" in said(small, controls)
    (cells,) = values.comparison(small, controls).rows
    assert any("smaller than 2.0" in cell.text for cell in cells)


def test_a_capped_share_says_on_which_side_it_lies():
    assert words.share(12) == "> 999\N{NO-BREAK SPACE}%"
    assert words.share(-12) == "< \N{MINUS SIGN}999\N{NO-BREAK SPACE}%"
    assert words.share_interval(-12, 12) == "[< \N{MINUS SIGN}999, > 999]"


def test_within_the_spread_of_independents_is_no_finding():
    rows, controls = one_claim("transferred")
    groups = sentences.groups(rows, controls.assign(inside=True))
    assert [g.heading for g in groups] == [
        "No finding: within the spread of independent students (1)"
    ]


def test_single_networks_are_called_checkpoints(study):
    rows, controls = one_claim("transferred", scope="networks", n_seeds_ind=1, n_seeds_dist=1)
    assert "these checkpoints" in said(rows, controls)
    assert "these checkpoints" in (sentences.scope_note(rows) or "")
    assert sentences.scope_note(one_claim("transferred")[0]) is None


def test_the_page_says_how_seeds_enter_the_intervals(page):
    assert "variance between seeds of both sides" in page
    rows = pd.concat([one_claim("transferred")[0]] * 3, ignore_index=True)

    def note(*forms: str) -> str:
        return sentences.seed_note(rows.assign(seed_term=forms)) or ""

    assert "seed by seed, because" in note("paired", "paired", "paired")
    assert "seed by seed, in 1 of 2 claims, because" in note("paired", "separate", "none")
    assert "of both sides" in note("separate", "separate", "none")
    assert note("none", "none", "none") == ""


def test_an_unbounded_interval_is_said():
    assert words.share_interval(float("nan"), 0.5) == "[unbounded]"


def test_control_without_enough_seeds_is_not_available():
    made = synthetic_study.tables(scope="networks", probes=("colour",))
    table = values.comparison(made["transfer"], made["controls"])
    column = table.head.index("Two independents")
    assert {row[column].text for row in table.rows} == {"not available"}


def test_a_poor_study_still_has_a_report(tmp_path):
    tables = synthetic_study.tables(scope="networks", methods=("my_student",), probes=("crop",))
    tables["paper"] = tables["paper"].head(0)
    tables["measurements"]["probe"] = tables["transfer"]["probe"] = "my_probe"
    tables["controls"]["probe"] = "my_probe"
    root = synthetic_study.write(tmp_path / "study", tables)
    text = report(root, figures=[], networks=[], summary={})
    assert "My probe" in text
    assert "these checkpoints" in text
    assert "Digests of" not in text
