"""Pairs with given students: their keys, and the jobs that follow."""

from __future__ import annotations

import copy

import pytest

from kdpipe.base.errors import KdpipeError
from kdpipe.base.paths import ModelRef, StudentRef
from kdpipe.plan.plan import Plan
from kdpipe.stages.tables import PairSettings
from kdpipe.study.schema import parse

DATA = {"set": "few", "domains": ["grey"]}


def taken(path: str, **more) -> dict:
    weights = {"path": path, "mean": [0.5] * 3, "std": [0.25] * 3}
    return {"network": "mnist_cnn", "data": DATA, "weights": weights, **more}


def study(**pair) -> dict:
    made = {
        "study": "given",
        "data": {"sets": {"few": {"source": "digits", "domains": {"grey": "original"}}}},
        "compute": {"device": "cpu", "precision": "fp32"},
        "models": {name: taken(f"{name}.pt") for name in ("t", "s", "s2", "b", "b2")},
        "probes": {"accuracy": None, "fidelity": None},
        "pairs": {
            "audit": {
                "teacher": {"model": "t"},
                "given": {"distilled": "s"},
                "baselines": "b",
                "probes": ["accuracy", "fidelity"],
                **pair,
            }
        },
    }
    made["models"]["several"] = taken("w{seed}.pt", seeds=[3, 5])
    made["models"]["fresh"] = {"network": "mnist_cnn", "data": DATA}
    return copy.deepcopy(made)


def planned(**pair) -> tuple[Plan, PairSettings]:
    plan = Plan(parse(study(**pair)))
    (only,) = plan.jobs["tables"].settings.pairs
    return plan, PairSettings.model_validate_json(only.model_dump_json())


def probed(plan: Plan, **about) -> set[str]:
    jobs = [job.settings for job in plan.by_stage("probe")]
    return {job.subject.path for job in jobs if (job.reference is not None) == about["beside"]}


def test_given_students_are_probed_where_their_models_lie():
    plan, pair = planned()
    assert not plan.by_stage("distil")
    networks = {"models/s/seed0", "models/b/seed0"}
    assert probed(plan, beside=True) == networks
    assert probed(plan, beside=False) == {*networks, "models/t/seed0"}
    assert pair.methods == {"distilled": [0]}
    assert pair.network("distilled", 0) == ModelRef(model="s")
    assert pair.network("ind", 0) == ModelRef(model="b")
    (unary, _) = pair.instances
    recorded = pair.measured(unary).values()
    measured = {network.path for networks in recorded for network in networks.values()}
    assert measured == probed(plan, beside=False)
    folder = pair.record_file(pair.network("distilled", 0), unary).parent
    assert str(folder) in plan.jobs["tables"].inputs


def test_seeds_of_one_model_keep_their_numbers_and_several_models_are_counted():
    _, pair = planned(given={"theirs": ["several"]}, baselines=["b", "b2"])
    assert pair.methods == {"theirs": [3, 5]}
    assert pair.network("theirs", 5) == ModelRef(model="several", seed=5)
    assert pair.ind_seeds == [0, 1]
    assert pair.independents() == [ModelRef(model="b"), ModelRef(model="b2")]


def test_without_a_baseline_nothing_is_independent():
    plan, pair = planned(baselines=[])
    assert pair.ind_seeds == []
    assert pair.first_method == "distilled"
    assert probed(plan, beside=True) == {"models/s/seed0"}
    assert planned(baselines=None)[1].ind_seeds == []


def test_given_students_stand_beside_those_that_are_distilled_here():
    plan, pair = planned(student="fresh", methods={"kl": {}}, baselines=None)
    assert [job.target for job in plan.by_stage("distil")] == ["students/audit/kl/seed0"]
    assert pair.independents() == [ModelRef(model="fresh")]
    assert pair.network("kl", 0) == StudentRef(pair="audit", method="kl", seed=0)
    assert pair.network("distilled", 0) == ModelRef(model="s")
    assert pair.network("teacher", 0) == ModelRef(model="t")


def test_a_pair_without_given_students_is_what_it_was():
    _, pair = planned(student="fresh", methods={"kl": {}}, baselines=None, given={})
    assert pair.taken == {}
    assert pair.student == "fresh"


@pytest.mark.parametrize(
    ("pair", "match"),
    [
        ({"given": {}}, "pairs.audit: give methods .* or students under given"),
        ({"methods": {"kl": {}}}, "pairs.audit: student: methods distil a model"),
        ({"student": "fresh", "methods": {"kl": {}}, "given": {"kl": "s"}}, "'kl' is among the me"),
        ({"given": {"x": "ghost"}}, "pairs.audit.given.x: there is no model 'ghost'; there are t,"),
        ({"baselines": ["ghost"]}, "pairs.audit.baselines: there is no model 'ghost'"),
        ({"given": {"x": []}}, "at least 1 item"),
        ({"baselines": ["b", "b"]}, "pairs.audit.baselines: a model is listed twice"),
        ({"given": {"x": "fresh"}}, "'fresh' has no weights; a given student is one that was dis"),
        ({"given": {"x": "t"}}, "given.x: 't' is the teacher of this pair as well"),
        ({"given": {"x": "b"}}, "given.x: 'b' is an independent student of this pair as well"),
        ({"given": {"x": "s", "y": "s"}}, "given.y: 's' is the student 'x' of this pair as well"),
        ({"given": {"ind": "s"}}, "pairs.audit.given: 'ind' is a reserved name"),
        ({"baselines": ["t"]}, "seed 0 of 't' is also an independent student"),
        ({"given": {"x\n": "s"}}, "characters that cannot be printed"),
        ({"given": {"x": "../s"}}, "should match pattern"),
    ],
)
def test_what_a_pair_cannot_be_is_said(pair, match):
    with pytest.raises(KdpipeError, match=match) as caught:
        planned(**pair)
    assert "\n" not in str(caught.value)
