"""What is said of the seeds that would decide open claims."""

from __future__ import annotations

import re

import pandas as pd
import pytest

from helpers import synthetic_study
from kdpipe.report import answer, outlook
from kdpipe.results.tables import Tables
from kdpipe.stages.base import Call
from kdpipe.stages.figures import FiguresSettings
from kdpipe.stages.figures import run as draw
from kdpipe.stages.report import ReportSettings, run

NONE = None


def claims(*seeds: int | None, **more) -> pd.DataFrame:
    """One open claim for each number of seeds."""
    row = {
        "pair": "main", "method": "kl", "probe": "accuracy", "condition": "domain=grey",
        "metric": "accuracy", "family": "accuracy", "n_seeds_ind": 3, "n_seeds_dist": 3,
        "n_units": 400, "n_claims": 2, "level": 0.025, "share": 0.4, "at_most": 64,
        "verdict_as_seen": "transferred", "units_as_seen": NONE, "seeds_if_none": NONE,
        "units_if_none": NONE, "reason": NONE,
    }  # fmt: skip
    return pd.DataFrame([row | {"seeds_as_seen": k} | more for k in seeds])


def said(*seeds: int | None, cost: str = "", **more) -> str:
    return outlook.sentence(claims(*seeds, **more), cost).text


@pytest.mark.parametrize(
    ("seeds", "advised", "decided"),
    [
        ([8], 8, 1),
        ([NONE, 8], 8, 1),
        ([4, 60], 4, 1),  # 1/4 of a claim for each seed, against 2/60
        ([9, 10, 15, 49, 52], 15, 3),  # 2/10 is as many as 3/15: the larger
        ([5, 5, 6, 6, 6, 40], 6, 5),
        ([4, 10, 10, 10], 10, 4),
    ],
)
def test_advice_is_the_most_claims_for_each_seed(seeds, advised, decided):
    given = outlook.advice(claims(*seeds))
    assert (given.seeds, given.decided, given.claims) == (advised, decided, len(seeds))
    assert given.pairs == ["main"]


def test_only_pairs_with_something_to_decide_need_seeds():
    both = pd.concat([claims(8, pair="one"), claims(NONE, pair="two")])
    assert outlook.advice(both).pairs == ["one"]


def test_sentences():
    assert said(6, 8, NONE) == (
        "3 claims are open; if effects are what they seem, 8 seeds a side would decide 2 of them."
    )
    assert said(8, cost=", about 4 min more") == (
        "1 claim is open; if the effect is what it seems, 8 seeds a side would decide it, about 4 "
        "min more."
    )
    assert said(NONE) == "1 claim is open, and up to 64 seeds a side would decide none of them."
    assert said(NONE, 8, units_as_seen=1200).endswith("; 2 need more images.")
    assert said(NONE, n_seeds_ind=1).startswith("1 claim is open about single networks")


def test_the_table_says_why_there_is_no_number():
    def cells(**more):
        table = outlook.table(claims(more.pop("seeds", NONE), **more))
        return dict(zip(table.head, (c.text for c in table.rows[0]), strict=True))

    seen, then = "Seeds if it is what it seems", "Verdict then"
    assert (cells(seeds=8)[seen], cells(seeds=8)[then]) == ("8", "transferred")
    assert (cells()[seen], cells()[then]) == ("more than 64", "–")
    assert cells(units_as_seen=1234)[seen] == "64 with n = 1,234"
    assert cells(units_as_seen=1234, n_seeds_ind=1)[seen] == "n = 1,234"
    assert cells(n_seeds_ind=1)[seen] == "–"
    assert cells(reason="the measurements give no variance")[seen].startswith("the measurements")
    assert cells(seeds_if_none=30)["Seeds if there is nothing"] == "30"


def test_methods_without_a_teacher_are_no_open_claims():
    rows = claims(8)
    assert outlook.of_taught(rows, {"main": ["kl"]}) is None
    assert len(outlook.of_taught(rows, {"main": ["crd"]})) == 1
    assert outlook.of_taught(rows[:0], {}) is None
    assert outlook.of_taught(None, {}) is None


@pytest.fixture
def root(tmp_path):
    made = {**synthetic_study.tables(), "power": claims(8, 20)}
    root = synthetic_study.write(tmp_path / "made_up", made)
    draw(FiguresSettings(study="made_up", figures=["transfer"]), Call(root, root / "figures"))
    return root


def test_report_and_terminal_say_it_and_only_the_terminal_says_how_long(root):
    run(
        ReportSettings(study="made_up", title="t", figures=["transfer"]),
        Call(root, root / "report.html"),
    )
    page = (root / "report.html").read_text(encoding="utf-8")
    sentence = said(8, 20).removesuffix(".")
    assert page.index(sentence) < page.index('id="answer"')
    assert "What more seeds would decide" in page
    assert not re.search(r"\d (min|h)\b", page)
    lines = answer.lines(Tables.load(root, []), [], {}, lambda given: f", {given.seeds} h more")
    assert f"More seeds: {sentence}, 8 h more." in lines


def test_results_of_before_have_no_such_table(root):
    (root / "tables" / "power.parquet").unlink()
    assert not [x for x in answer.lines(Tables.load(root, []), [], {}) if "More seeds" in x]
