"""Transfer images in a study file: what they are made of, and what is refused."""

from __future__ import annotations

import copy
import json
import re

import pytest

from helpers.mini_study import STUDY
from kdpipe.base.errors import KdpipeError
from kdpipe.data.selection import Selection
from kdpipe.data.transfer import Transfer
from kdpipe.plan.check_data import check_data
from kdpipe.plan.estimate import Estimate
from kdpipe.plan.plan import Plan
from kdpipe.study.schema import parse

TARGET = "students/only/kl/seed0"


def study(transfer, method=None, **pair):
    raw = copy.deepcopy(STUDY)
    sets = raw["data"]["sets"]
    sets["small"] = {**sets["few"], "size": 12}
    sets["digits"] = {key: value for key, value in sets["few"].items() if key != "classes"}
    sets["tested"] = {**sets["few"], "source": "mnist", "split": {"train": 0, "val": 0, "test": 1}}
    raw["pairs"]["only"] |= {"methods": method or {"kl": {"gamma": 0}}, **pair}
    if transfer is not None:
        raw["pairs"]["only"]["transfer"] = transfer
    return raw


def plan(transfer, method=None, **pair) -> Plan:
    return Plan(parse(study(transfer, method, **pair), "study.yaml"))


OWN = Selection(set="few", domains=["grey"], per_class=5, without=["low"], seed=3)


@pytest.mark.parametrize(
    ("transfer", "want"),
    [
        ({}, OWN),
        ({"domains": ["colour"]}, OWN.model_copy(update={"domains": ["colour"]})),
        ({"without": []}, OWN.model_copy(update={"without": None})),
        ({"set": "few", "per_class": 2}, OWN.model_copy(update={"per_class": 2})),
        ({"set": "other", "domains": ["x"]}, Selection(set="other", domains=["x"])),
        ({"noise": "uniform"}, None),
    ],
)
def test_keys_that_are_left_out_are_those_of_the_students_images(transfer, want):
    assert Transfer(**transfer).selection(OWN) == want


REFUSED = {
    "unknown set": ({"set": "many", "domains": ["grey"]}, r"transfer\.set: there is no data set"),
    "unknown domain": ({"domains": ["sepia"]}, r"transfer\.domains: .* has no domain 'sepia'"),
    "set alone": ({"set": "small"}, r"transfer\.domains: name those of the set 'small'"),
    "other size": (
        {"set": "small", "domains": ["grey"]},
        r"transfer\.set: images of 'small' are 12 pixels wide, and those .* 'few' 28",
    ),
    "no training images": (
        {"set": "tested", "domains": ["grey"]},
        r"transfer\.set: 'tested' has no training images",
    ),
    "other classes": (
        {"set": "digits", "domains": ["grey"], "labels": True},
        r"transfer\.labels: 'digits' has other classes",
    ),
    "noise of a set": ({"noise": "uniform", "domains": ["grey"]}, r"domains: noise is made of no"),
    "grey images": ({"grey": True}, r"grey: this is an option of noise"),
    "number of images": ({"images": 9}, r"images: this is an option of noise"),
    "labels of noise": ({"noise": "uniform", "labels": True}, r"labels: noise has no labels"),
    "labels of mixtures": ({"mixup": 1, "labels": True}, r"labels: mixup has no labels"),
    "two kinds of labels": ({"beside": True, "labels": True}, r"labels: beside the student's own"),
    "unknown key": ({"nois": "uniform"}, r"transfer\.nois"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_images_that_cannot_show_a_teacher_are_refused(case):
    transfer, words = REFUSED[case]
    with pytest.raises(KdpipeError, match=words) as caught:
        plan(transfer)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("transfer", "method", "words"),
    [
        ({}, {"crd": {"gamma": 0}}, r"methods\.crd: the objective 'crd' needs the labels"),
        ({"beside": True}, {"crd": {}}, r"methods\.crd: the objective 'crd' needs the labels"),
        ({}, {"soft_label": {}}, r"methods\.soft_label: .* 'soft_label' sees no teacher"),
        ({}, {"labels": {}}, r"methods\.labels: .* 'labels' sees no teacher"),
        ({}, {"kl": {}}, r"methods\.kl\.gamma: no image has a label.* say gamma: 0, or beside"),
        ({"noise": "gaussian"}, {"a": {"objective": "hint"}}, r"methods\.a\.gamma: no image"),
    ],
)
def test_objectives_that_need_labels_are_refused(transfer, method, words):
    with pytest.raises(KdpipeError, match=words):
        plan(transfer, method)


@pytest.mark.parametrize("method", [{"crd": {}}, {"soft_label": {}}, {"kl": {}}])
def test_images_that_keep_their_labels_serve_every_objective(method):
    assert plan({"domains": ["colour"], "labels": True}, method).by_stage("distil")


def test_a_pair_that_distils_nobody_has_no_transfer_images():
    raw = study({})
    raw["models"]["given"] = {**raw["models"]["small"], "seeds": [0], "weights": {"path": "x.pt"}}
    raw["pairs"]["only"] |= {"methods": {}, "given": {"kd": ["given"]}}
    with pytest.raises(KdpipeError, match=r"transfer: the pair distils no student"):
        parse(raw)


def test_a_study_without_the_key_has_the_settings_that_it_had():
    job = plan(None).jobs[TARGET]
    assert "transfer" not in json.loads(job.settings_json)
    assert set(json.loads(job.settings_json)["data"]) == {
        "set", "domains", "per_class", "per_group", "seed",
    }  # fmt: skip
    assert "transfer" not in parse(study(None)).model_dump()["pairs"]["only"]


def test_only_the_students_of_the_pair_depend_on_it():
    one, other = plan(None), plan({"noise": "uniform"})
    assert set(one.jobs) >= set(other.jobs)
    changed = {t for t, job in other.jobs.items() if job.settings != one.jobs[t].settings}
    assert changed - {"report.html"} == {TARGET, TARGET.replace("seed0", "seed1")}


def test_another_set_is_an_input_of_students_and_table():
    found = plan({"set": "digits", "domains": ["colour"]}, training={"epochs": 3})
    for target in (TARGET, "teacher_outputs/only.safetensors"):
        inputs = found.jobs[target].inputs
        assert {"subset/digits/subset.json", "subset/few/subset.json"} <= set(inputs)
    table = found.jobs["teacher_outputs/only.safetensors"].settings
    assert (table.data.set, table.classes_of) == ("digits", "few")
    assert found.jobs[TARGET].settings.tabulated


@pytest.mark.parametrize("transfer", [{"noise": "uniform"}, {"mixup": 0.2}])
def test_what_never_comes_again_is_not_tabulated(transfer):
    found = plan(transfer, training={"epochs": 3})
    assert "teacher_outputs/only.safetensors" not in found.jobs
    assert not found.jobs[TARGET].settings.tabulated


def test_costs_count_the_images_of_an_epoch():
    """A forward pass of teacher and student costs the same here; a table saves the teacher's."""
    own = plan(None)
    n = Estimate(own).training_images(own.jobs[TARGET].settings.data)
    flops = {
        name: Estimate(found).training_flops(found.jobs[TARGET].settings)
        for name, found in {
            "own": own,
            "noise": plan({"noise": "uniform", "images": 72}),
            "beside": plan({"noise": "uniform", "images": 72, "beside": True}),
            "few": plan({"per_class": 2}),
        }.items()
    }
    one = flops["own"] / (3 * n)
    assert flops["noise"] == pytest.approx(4 * 72 * one)
    assert flops["beside"] == pytest.approx(7 * n * one)
    assert flops["few"] == pytest.approx(3 * 4 * one)


@pytest.mark.parametrize(
    ("transfer", "words"),
    [
        ({"without": ["9"]}, r"pairs\.only\.transfer: without: .* has no class '9'; it has high"),
        ({"without": ["high", "low"]}, r"pairs\.only\.transfer: without: this leaves no class"),
        ({"per_class": 900}, r"pairs\.only\.transfer: .* but 900 are asked for"),
    ],
)
def test_check_looks_for_the_images(transfer, words, tmp_path):
    raw = study(transfer)
    del raw["data"]["sets"]["tested"]
    _good, bad = check_data(Plan(parse(raw)), tmp_path)
    assert len(bad) == 1
    assert re.search(words, bad[0])
