"""The picture that answers a question shows the networks and values that the study names."""

from __future__ import annotations

import pandas as pd
import pytest

from helpers import synthetic_study
from kdpipe.figures.answer import AnswerFigure, shown
from kdpipe.figures.shared import style
from kdpipe.figures.shared.find import figure_names
from kdpipe.results import words
from kdpipe.results.settings import Answer, AnswerPanel
from kdpipe.results.tables import Tables

ROWS = {"big one": "main/teacher", "labels": "main/ind", "answers": "main/kl"}


def made(**answer: object) -> Tables:
    given = Answer(**{"probe": "accuracy", "rows": ROWS, **answer})  # type: ignore[arg-type]
    return Tables(**synthetic_study.tables(), pairs=synthetic_study.pairs(), answer=given)


def drawn(tables: Tables) -> list[list[str]]:
    with style.context():
        canvas = AnswerFigure().draw(tables)
        return [[t.get_text() for t in ax.texts] for ax in canvas.axes]


def test_every_row_has_the_mean_of_its_seeds_in_the_condition_of_the_verdict():
    tables = made()
    claim = tables.transfer.query("pair == 'main' and probe == 'accuracy' and primary").iloc[0]
    m = tables.measurements
    metric = words.metric_words("accuracy", claim["metric"])
    wanted = []
    for method in ("teacher", "ind", "kl"):
        rows = m[
            (m["pair"] == "main")
            & (m["probe"] == "accuracy")
            & (m["method"] == method)
            & (m["metric"] == claim["metric"])
            & (m["condition"] == claim["condition"])
        ]
        assert len(rows) >= 1
        wanted.append(words.number(rows["value"].mean(), metric))
    assert drawn(tables) == [wanted]


def test_a_panel_may_have_another_condition():
    tables = made()
    (first,) = set(tables.measurements.query("pair == 'main' and probe == 'accuracy'")["condition"])
    other = tables.measurements.assign(condition="domain=elsewhere;strength=2")
    tables.measurements = pd.concat([tables.measurements, other])
    panel = AnswerPanel(condition={"domain": "elsewhere"})
    assert set(shown(tables, "accuracy", panel, "main", "kl")["condition"]) == {
        "domain=elsewhere;strength=2"
    }
    assert set(shown(tables, "accuracy", AnswerPanel(), "main", "kl")["condition"]) == {first}


def test_rows_are_called_what_the_study_calls_them():
    with style.context():
        canvas = AnswerFigure().draw(made(show=[{"says": "left"}, {"says": "right"}]))
    assert [label.get_text() for label in canvas.axes[0].get_yticklabels()] == list(ROWS)
    assert [ax.get_title(loc="left") for ax in canvas.axes] == ["left", "right"]


def test_nothing_measured_is_said():
    tables = made()
    assert AnswerFigure().missing(tables) is None
    tables.measurements = tables.measurements.query("probe != 'accuracy'")
    assert "Nothing was measured" in str(AnswerFigure().missing(tables))


@pytest.mark.parametrize("has", [True, False])
def test_only_a_study_with_an_answer_has_the_picture(has):
    assert ("answer" in figure_names(["accuracy"], ["answer"] if has else [])) is has
