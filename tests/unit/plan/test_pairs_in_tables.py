"""What the plan tells the tables of students that are paired seed by seed."""

from __future__ import annotations

import pytest

from kdpipe.plan.plan_results import tables_settings
from kdpipe.study.schema import parse

DATA = {"set": "few", "domains": ["grey"]}
FRESH = {"network": "mnist_cnn", "data": DATA, "seeds": [0, 1]}
WEIGHTS = {"path": "w{seed}.pt", "mean": [0.5] * 3, "std": [0.25] * 3}


def is_paired(study: dict | None = None, model: dict | None = None, **pair) -> dict[str, bool]:
    """By method of a pair that distils ``kl``, with further keys of study, student and pair."""
    raw = {
        "study": "pairs",
        "data": {"sets": {"few": {"source": "digits", "domains": {"grey": "original"}}}},
        "compute": {"device": "cpu", "precision": "fp32"},
        "models": {
            "teacher": FRESH,
            "student": {**FRESH, **(model or {})},
            "other": FRESH,
            "theirs": {**FRESH, "weights": WEIGHTS},
        },
        "probes": {"accuracy": None},
        "pairs": {
            "main": {
                "teacher": {"model": "teacher"},
                "student": "student",
                "methods": {"kl": None},
                "seeds": [0, 1],
                "probes": ["accuracy"],
                **pair,
            }
        },
        **(study or {}),
    }
    (only,) = tables_settings(parse(raw)).pairs
    return {method: only.is_paired(method) for method in only.methods}


def test_students_are_paired_with_the_networks_of_their_own_model():
    assert is_paired() == {"kl": True}
    assert is_paired(baselines="student") == {"kl": True}


def test_given_students_are_not_paired():
    assert is_paired(given={"ours": "theirs"}) == {"kl": True, "ours": False}


@pytest.mark.parametrize(
    "keys",
    [
        {"study": {"paired": False}},
        {"baselines": "other"},
        {"baselines": ["student", "other"]},
        {"baselines": []},
        {"model": {"weights": WEIGHTS}},
    ],
    ids=["the study says so", "another model", "several models", "none", "independents given"],
)
def test_others_are_not(keys):
    assert is_paired(**keys) == {"kl": False}
