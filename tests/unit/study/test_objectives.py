"""Objectives in a study file: of a model without a teacher, and of outputs without labels."""

from __future__ import annotations

import json

import pytest

from helpers.small_study import small
from kdpipe.base.errors import KdpipeError
from kdpipe.plan.plan import Plan
from kdpipe.study.schema import parse


def with_objective(objective, **model):
    raw = small()
    raw["models"]["big"] |= {"objective": objective, **model}
    return raw


@pytest.mark.parametrize(
    "objective", ["adversarial_training", {"name": "adversarial_training", "epsilon": 0.1}]
)
def test_a_model_may_be_trained_under_attack(objective):
    plain, robust = Plan(parse(small())), Plan(parse(with_objective(objective)))
    for target in ("models/big/seed0", "models/big/seed1"):
        job = robust.jobs[target]
        assert job.settings.objective.name == "adversarial_training"
        assert "kdpipe.distill.adversarial_training" in job.plugins
    # Nothing else is another job, and without the key no settings mention it.
    for target in ("models/small/seed0", "students/one/kl/seed0"):
        dumps = [plan.jobs[target].settings.model_dump_json() for plan in (plain, robust)]
        assert dumps[0] == dumps[1]
    assert "objective" not in json.loads(plain.jobs["models/big/seed0"].settings.model_dump_json())


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (with_objective("kl"), r"models\.big: objective: 'kl' learns from a teacher"),
        (
            with_objective(
                "labels", seeds=[0], weights={"path": "x.pt", "mean": [0.5] * 3, "std": [0.2] * 3}
            ),
            r"models\.big: objective: weights are not trained",
        ),
        (with_objective({"name": "ardd"}), r"models\.big\.objective: .*ardd"),
    ],
    ids=["teacher", "weights", "unknown"],
)
def test_an_objective_that_a_model_cannot_have_is_refused(raw, said):
    with pytest.raises(KdpipeError, match=said):
        parse(raw)


def compared(outputs: str, methods):
    raw = small()
    for model in raw["models"].values():
        model |= {"network": {"name": "pixel_mlp", "hidden": [8]}, "auxiliary": 3}
    raw["pairs"]["one"] |= {"outputs": outputs, "methods": methods, "probes": ["accuracy"]}
    return raw


@pytest.mark.parametrize(
    ("methods", "name"),
    [({"crd": None}, "crd"), ({"s": {"terms": ["kl", "dkd"]}}, "dkd"), ({"ard": None}, "ard")],
    ids=["crd", "sum", "ard"],
)
def test_outputs_without_labels_are_not_for_objectives_that_need_them(methods, name):
    method = next(iter(methods))
    with pytest.raises(KdpipeError, match=rf"one\.methods\.{method}: .* '{name}' needs a label"):
        parse(compared("auxiliary", methods))


@pytest.mark.parametrize(
    ("outputs", "method"), [("all", "rslad"), ("auxiliary", "rslad"), ("all", "ard")]
)
def test_attacks_are_on_the_classes_alone(outputs, method):
    with pytest.raises(KdpipeError, match=rf"'{method}' attacks the answers of the classes"):
        parse(compared(outputs, {method: None}))


@pytest.mark.parametrize(
    ("outputs", "methods"),
    [("auxiliary", {"kl": None, "labels": None}), ("all", {"dkd": None, "crd": None})],
    ids=["auxiliary", "all"],
)
def test_other_objectives_compare_them(outputs, methods):
    assert parse(compared(outputs, methods)).pairs["one"].outputs == outputs


def test_a_sum_has_room_for_one_attack():
    raw = small()
    raw["pairs"]["one"]["methods"] = {"s": {"terms": ["ard", "rslad"]}}
    with pytest.raises(KdpipeError, match="two terms attack the student"):
        parse(raw)
