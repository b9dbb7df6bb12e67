"""Auxiliary outputs, starts and teachers: what is planned, and what is refused in a sentence."""

from __future__ import annotations

import json
from typing import Any

import pytest

from helpers.small_study import small, with_value
from kdpipe.base.errors import KdpipeError
from kdpipe.plan.plan import Plan
from kdpipe.study.schema import parse

NEW_KEYS = {"auxiliary", "outputs"}


def study(*changes: tuple[list[str], Any]) -> dict[str, Any]:
    raw = small()
    for path, value in changes:
        with_value(raw, path, value)
    return raw


def slices(raw: dict[str, Any], *stages: str) -> dict[str, dict[str, Any]]:
    return {job.target: json.loads(job.settings_json) for job in Plan(parse(raw)).by_stage(*stages)}


MORE = (["models", "big", "auxiliary"], 3), (["models", "small", "auxiliary"], 3)


def test_keys_that_a_study_does_not_name_stand_in_no_slice():
    for settings in slices(small(), "train", "distil", "teacher_outputs", "tables").values():
        assert not NEW_KEYS & settings.keys()


def test_outputs_that_a_pair_compares_reach_its_students_and_nothing_else():
    changed = study(*MORE, (["pairs", "one", "outputs"], "auxiliary"))
    found = slices(changed, "train", "distil")
    assert {s["auxiliary"] for s in found.values()} == {3}
    named = {target for target, settings in found.items() if "outputs" in settings}
    assert named == {target for target in found if target.startswith("students/one/")}
    assert {found[target]["outputs"] for target in named} == {"auxiliary"}


def test_an_objective_without_a_teacher_compares_nothing():
    changed = study(*MORE, (["pairs", "one", "outputs"], "all"))
    changed["pairs"]["one"]["methods"] = {"labels": None}
    assert not any("outputs" in s for s in slices(changed, "distil").values())


def test_outputs_of_the_classes_are_the_default_whether_or_not_a_study_says_so():
    assert slices(study((["pairs", "one", "outputs"], "classes")), "distil") == slices(
        small(), "distil"
    )


REFUSED: dict[str, tuple[list[tuple[list[str], Any]], str]] = {
    "no auxiliary outputs": (
        [(["pairs", "one", "outputs"], "auxiliary")],
        "pairs.one.outputs: 'auxiliary' compares auxiliary outputs, but models.big has 0 and "
        "models.small has 0",
    ),
    "fewer in the student": (
        [*MORE, (["models", "small", "auxiliary"], 2), (["pairs", "one", "outputs"], "all")],
        "models.big has 3 and models.small has 2; give both the same number",
    ),
    "auxiliary outputs of given weights": (
        [
            (["models", "big", "auxiliary"], 3),
            (["models", "big", "weights"], "a.pt"),
            (["models", "big", "seeds"], [0]),
        ],
        "models.big: auxiliary: only a network of kdpipe that is trained here",
    ),
    "no such outputs": ([(["pairs", "one", "outputs"], "logits")], "pairs.one.outputs"),
    "less than one": ([(["models", "big", "auxiliary"], 0)], "models.big.auxiliary"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_work_is_refused_in_a_sentence(case):
    changes, words = REFUSED[case]
    with pytest.raises(KdpipeError) as caught:
        Plan(parse(study(*changes), "study.yaml"))
    message = str(caught.value)
    assert words in message
    assert message.endswith(".")
    assert "\n" not in message
