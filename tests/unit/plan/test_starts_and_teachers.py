"""Auxiliary outputs, starts and teachers: what is planned, and what is refused in a sentence."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from helpers.places import REPOSITORY
from helpers.small_study import small, with_value
from kdpipe.base.errors import KdpipeError
from kdpipe.base.plugin import STUDY_FILE
from kdpipe.plan.check_networks import check_networks
from kdpipe.plan.estimate import Estimate
from kdpipe.plan.order import Order
from kdpipe.plan.plan import Plan
from kdpipe.plan.urgency import urgency
from kdpipe.stages.order import STAGES
from kdpipe.study.schema import parse

NEW_KEYS = {"auxiliary", "outputs", "init"}


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
        assert not any("floor" in pair for pair in settings.get("pairs", ()))


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


INIT = ["pairs", "one", "init"]
HERE = ["pairs", "two", "init"]  # its teacher has the architecture of its student


def test_a_start_comes_with_what_it_is_drawn_from_and_trains_no_network_for_it():
    changed = study((HERE, {"from": {"model": "big", "seed": 7}, "noise": 0.1, "layers": ["fc2"]}))
    plan = Plan(parse(changed))
    job = plan.jobs["students/two/kl/seed0"]
    assert json.loads(job.settings_json)["init"] == {
        "ref": {"model": "big", "seed": 7},
        "at": "start",
        "noise": 0.1,
        "layers": ["fc2"],
        "network": {"name": "mnist_cnn", "options": {"antialias": False}},
        "auxiliary": 0,
        "set": "few",
        "drawn_as": None,
    }
    assert "models/big/seed7" not in plan.jobs
    assert job.inputs.count("subset/few/subset.json") == 1
    assert json.loads(job.settings_json)["start_as"] == {"model": "small", "seed": 0}


def test_an_end_is_trained_first():
    changed = study((HERE, {"from": {"model": "big", "seed": 7}, "at": "end"}))
    plan = Plan(parse(changed))
    assert "models/big/seed7" in plan.jobs
    assert "models/big/seed7/model.safetensors" in plan.jobs["students/two/kl/seed0"].inputs


def test_the_teacher_is_meant_by_its_word():
    found = slices(study((HERE, {"from": "teacher"})), "distil")
    assert found["students/two/kl/seed0"]["init"]["ref"] == {"model": "small", "seed": 9}
    assert "init" not in found["students/one/kl/seed0"]


def test_a_start_changes_no_other_job():
    plain, started = (slices(s, *STAGES) for s in (small(), study((HERE, {"from": "teacher"}))))
    changed = {target for target in plain if plain[target] != started[target]}
    assert changed == {"students/two/kl/seed0", "report.html"}


def test_a_study_with_a_start_can_be_written_and_read_again():
    read = parse(study((HERE, {"from": "teacher", "noise": 0.5})))
    again = parse(read.model_dump(mode="json", context=STUDY_FILE))
    assert again.pairs["two"].init == read.pairs["two"].init


def test_the_report_says_where_students_started():
    changed = study((HERE, {"from": "teacher", "noise": 0.5, "layers": ["fc1", "fc2"]}))
    summary = slices(changed, "report")["report.html"]["summary"]
    assert summary["pair two, start"] == (
        "distilled students start at the initial weights of their teacher (layers fc1, fc2 alone), "
        "with noise of 0.5 of each tensor's spread; independent students start from their own "
        "draws, so that the comparison is not on equal footing"
    )
    assert "pair one, start" not in summary


def complaints(raw: dict[str, Any]) -> list[str]:
    return check_networks(Plan(parse(raw)), None)


def test_networks_that_are_not_alike_are_refused_before_anything_runs():
    wide = {"name": "wrn", "depth": 10, "width": 1}
    assert complaints(study((INIT, {"from": "teacher"}))) == []
    found = complaints(study((INIT, {"from": "teacher"}), (["models", "big", "network"], wide)))
    assert found[-1:] == [
        "pairs.one.init: models.small cannot start from models.big: the student's tensor "
        "'conv1.weight' is 32×3×3×3 and not in the other network; take one of the same "
        "architecture, or only layers that are alike"
    ]
    assert complaints(study((INIT, {"from": "teacher", "layers": ["relu1"]}))) == [
        "pairs.one: init: the layer 'relu1' has no weights; name one that has"
    ]


TEACHER = ["pairs", "two", "teacher"]
SEVERAL = [{"model": "big", "seed": 2}, {"model": "small", "seed": 7}]


def test_a_student_of_another_pair_teaches_and_is_distilled_for_it():
    taught = {"pair": "one", "method": "kl", "seed": 9}
    changed = study((TEACHER, taught))
    changed["pairs"]["two"]["probes"] = ["accuracy", "consensus"]
    plan = Plan(parse(changed))
    assert "students/one/kl/seed9" in plan.jobs
    job = plan.jobs["students/two/kl/seed0"]
    assert json.loads(job.settings_json)["teacher"] == taught
    assert "students/one/kl/seed9/model.safetensors" in job.inputs
    beside = plan.jobs["probes/students/two/kl/seed0/vs-one~kl-seed9/predictions"]
    assert json.loads(beside.settings_json)["reference"] == taught
    assert {"gate/students/one/kl", "gate/students/two/kl"} <= set(beside.after)
    # Another student of that pair is the ceiling.
    assert "probes/students/one/kl/seed0/vs-one~kl-seed9/predictions" in plan.jobs
    (two,) = [p for p in plan.jobs["tables"].settings.pairs if p.name == "two"]
    assert two.teacher.called == "one/kl"
    assert two.second_teacher.path == "students/one/kl/seed0"
    assert two.network("teacher2", 0) == two.second_teacher


def test_a_chain_of_generations_runs_in_its_order():
    changed = study((TEACHER, {"pair": "three", "method": "kl", "seed": 7}))
    changed["pairs"]["three"] = {
        **small()["pairs"]["two"],
        "teacher": {"pair": "one", "method": "kl", "seed": 9},
    }
    plan = Plan(parse(changed))
    order, ran = Order(), []
    for stage in STAGES:
        ran += [job.target for job in order.of(plan.jobs, plan.by_stage(stage))]
    assert sorted(ran) == sorted(plan.jobs)
    made: set[str] = set()
    for target in ran:
        job = plan.jobs[target]
        assert made.issuperset((*job.inputs, *job.after)), target
        made |= set(job.outputs)
    assert max(urgency(plan.jobs).values()) < len(plan.jobs)


def test_several_networks_teach_with_their_files_and_gates():
    changed = study((TEACHER, SEVERAL))
    changed["pairs"]["two"]["probes"] = ["accuracy", "consensus"]
    plan = Plan(parse(changed))
    job = plan.jobs["students/two/kl/seed0"]
    for path in ("models/big/seed2", "models/small/seed7"):
        assert f"{path}/model.safetensors" in job.inputs
    (two,) = [p for p in plan.jobs["tables"].settings.pairs if p.name == "two"]
    assert two.teacher.called == "mean of big 2, small 7"
    assert two.second_teacher is None
    unary = plan.jobs[f"probes/{two.teacher.path}/unary/predictions"]
    assert set(unary.after) == {"gate/models/big", "gate/models/small"}
    assert check_networks(plan, None) == []
    assert Estimate(plan, None).need(job).hours > 0


@pytest.mark.parametrize("several", [1, 2, 3])
def test_one_network_named_twice_is_this_network(several):
    one = {"model": "small", "seed": 9}
    changed = study((TEACHER, [one] * several))
    assert slices(changed, *STAGES) == slices(small(), *STAGES)


def test_paths_of_teachers_fit_the_rules():
    constraints = (REPOSITORY / "rules/common.smk").read_text()
    patterns = dict(re.findall(r'^    (\w+)=r"(.*)",$', constraints, re.MULTILINE))
    changed = study((TEACHER, SEVERAL), (["pairs", "two", "probes"], ["accuracy", "consensus"]))
    changed["pairs"]["three"] = {
        **changed["pairs"]["two"],
        "teacher": {"pair": "one", "method": "a +", "seed": 9},
    }
    changed["pairs"]["one"]["methods"]["a +"] = {"objective": "kl"}
    probed = [job.target for job in Plan(parse(changed)).by_stage("probe")]
    assert any("means/" in target for target in probed)
    assert any("vs-~" in target for target in probed)
    assert any("vs-one~a~20~2B-seed9" in target for target in probed)
    whole = "probes/({network})/({against})/({family})".format(**patterns)
    assert all(re.fullmatch(whole, target) for target in probed)


REFUSED: dict[str, tuple[list[tuple[list[str], Any]], str]] = {
    "no auxiliary outputs": (
        [(["pairs", "one", "outputs"], "auxiliary")],
        "pairs.one.outputs: 'auxiliary' compares auxiliary outputs, but models.big has 0 and "
        "models.small has 0",
    ),
    "fewer in the student": (
        [*MORE, (["models", "small", "auxiliary"], 2), (["pairs", "one", "outputs"], "all")],
        "models.big has 3 and models.small has 2; give all of them the same",
    ),
    "auxiliary outputs of given weights": (
        [
            (["models", "big", "auxiliary"], 3),
            (["models", "big", "weights"], "a.pt"),
            (["models", "big", "seeds"], [0]),
        ],
        "models.big: auxiliary: only a network of kdpipe that is trained here",
    ),
    "an unknown network to start from": (
        [(INIT, {"from": {"model": "ghost"}})],
        "pairs.one.init.from.model: there is no model 'ghost'",
    ),
    "a start that nobody knows": (
        [
            (INIT, {"from": "teacher"}),
            (["models", "big", "weights"], "a.pt"),
            (["models", "big", "seeds"], [0]),
            (["probes", "adversarial", "foreign"], {"model": "small", "seed": 8}),
        ],
        "pairs.one.init.at: 'big' comes from weights, and where their training started is unknown",
    ),
    "negative noise": ([(INIT, {"from": "teacher", "noise": -1})], "pairs.one.init.noise"),
    "no network to start from": ([(INIT, {"at": "end"})], "pairs.one.init.from"),
    "the teacher's draws besides its start": (
        [(HERE, {"from": "teacher"}), (["pairs", "two", "seeds"], [9])],
        "pairs.two.seeds: student 9 would see its images in the same order as its teacher",
    ),
    "a foreign attacker that students start from": (
        [(INIT, {"from": {"model": "big", "seed": 1}})],
        "probes.adversarial.foreign: students of pairs.one start from its weights",
    ),
    "a student that is not distilled": (
        [(["models", "small", "training", "epochs"], 0)],
        "pairs.one.training.epochs: 0 would distil nothing",
    ),
    "a teacher of an unknown pair": (
        [(TEACHER, {"pair": "ghost", "method": "kl"})],
        "pairs.two.teacher.pair: there is no pair 'ghost'",
    ),
    "a teacher of an unknown method": (
        [(TEACHER, {"pair": "one", "method": "crd"})],
        "pairs.two.teacher.method: pair 'one' has no method 'crd' that distils; it has kl, hint",
    ),
    "a teacher without a method": (
        [(TEACHER, {"pair": "one"})],
        "'pairs.two.teacher.method' is required",
    ),
    "a pair that teaches itself": (
        [(TEACHER, {"pair": "two", "method": "kl", "seed": 9})],
        "pairs.two.teacher: students of a pair cannot teach themselves (two → two)",
    ),
    "pairs that teach each other": (
        [
            (TEACHER, {"pair": "one", "method": "kl", "seed": 9}),
            (["pairs", "one", "teacher"], {"pair": "two", "method": "kl", "seed": 8}),
        ],
        "students of a pair cannot teach themselves (one → two → one)",
    ),
    "a student that starts as its teacher did": (
        [(TEACHER, {"pair": "one", "method": "kl", "seed": 0})],
        "pairs.two.seeds: student 0 would start from the same weights as its teacher",
    ),
    "no teacher at all": ([(TEACHER, [])], "pairs.two.teacher.networks"),
    "layers of several teachers": (
        [(["pairs", "one", "teacher"], SEVERAL)],
        "pairs.one.methods.hint: the objective 'hint' reads layers of the teacher",
    ),
    "an attack on several teachers": (
        [(["pairs", "one", "teacher"], SEVERAL), (["pairs", "one", "methods"], {"kl": None})],
        "pairs.one.probes: 'adversarial' looks into the teacher, or attacks it",
    ),
    "a start at several teachers": (
        [(TEACHER, SEVERAL), (HERE, {"from": "teacher"})],
        "pairs.two.init.from: the teacher is the mean of several networks",
    ),
    "a start of a student that starts elsewhere": (
        [
            (TEACHER, {"pair": "one", "method": "kl", "seed": 9}),
            (INIT, {"from": "teacher"}),
            (HERE, {"from": "teacher"}),
        ],
        "pairs.two.init.at: students of pairs.one start where its own init says",
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
