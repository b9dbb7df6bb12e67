"""The picture that answers a study's question names what the study measures."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from helpers.mini_study import STUDY
from kdpipe.base.errors import KdpipeError
from kdpipe.plan.plan import Plan
from kdpipe.study.schema import parse

ROWS = {"labels": "only/ind", "answers": "only/kl"}


def study(**answer: Any) -> Any:
    raw = copy.deepcopy(STUDY)
    return parse({**raw, "answer": {"probe": "accuracy", "rows": ROWS, **answer}}, "study.yaml")


def test_the_picture_is_drawn_and_stands_in_the_report():
    with_it, without = Plan(study()), Plan(parse(copy.deepcopy(STUDY)))
    settings = {job.stage: job.settings for job in with_it.jobs.values()}
    assert "answer" in settings["figures"].figures
    assert settings["report"].answer.rows == ROWS
    before = {job.stage: job.settings for job in without.jobs.values()}
    assert "answer" not in before["figures"].figures
    assert "answer" not in before["report"].model_dump()


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ({"probe": "cka"}, "answer.probe: no pair measures 'cka'"),
        ({"show": [{"metric": "speed"}]}, r"answer.show.0.metric: 'accuracy' has no metric"),
        ({"rows": {"a": "only/kl", "b": "nowhere/kl"}}, "answer.rows.b: .* no pair 'nowhere'"),
        ({"rows": {"a": "only/kl", "b": "only/crd"}}, "answer.rows.b: .* no method 'crd'"),
        ({"rows": {"a": "only/kl"}}, "answer.rows.*at least 2"),
    ],
    ids=["probe", "metric", "pair", "method", "one row"],
)
def test_what_the_study_does_not_have_is_refused(answer, sentence):
    with pytest.raises(KdpipeError, match=sentence):
        study(**answer)
