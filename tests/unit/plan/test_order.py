"""Mappings whose order has a meaning reach the jobs in the order of the study."""

from __future__ import annotations

import copy
import json

import pytest

from helpers.mini_study import STUDY
from kdpipe.base.provenance import write_json
from kdpipe.plan.plan import Plan
from kdpipe.run.inprocess import run_job
from kdpipe.study.schema import parse
from kdpipe.workflow.changes import settings

CLASSES = {"zebra": ["0", "1"], "apple": ["2", "3"], "mango": ["4"]}
KEY_MAP = {"^z": "a", "^a": "b", "^m": None}


def study(classes=None, **pair):
    raw = copy.deepcopy(STUDY)
    raw["data"]["sets"]["few"]["classes"] = classes or CLASSES
    raw["data"]["sets"]["few"]["class_map"] = {
        "name": "listed",
        "classes": {name: [name] for name in classes or CLASSES},
    }
    raw["models"]["ready"] = {
        "network": "mnist_cnn",
        "data": {"set": "few", "domains": ["grey"]},
        "weights": {"path": "w.pt", "key_map": KEY_MAP, "mean": [0.5] * 3, "std": [0.5] * 3},
    }
    raw["pairs"]["only"] |= {"methods": {"kl": {}, "crd": {}, "hint": {}}, **pair}
    return raw


def received(job):
    """The settings as the process of the job validates them."""
    return type(job.settings).model_validate_json(job.settings_json)


@pytest.fixture(scope="module")
def plan():
    return Plan(parse(study()))


def test_what_a_job_receives_is_in_the_order_of_the_study(plan):
    assert list(received(plan.jobs["subset/few"]).classes) == list(CLASSES)
    assert list(received(plan.jobs["models/ready/seed0"]).weights.key_map) == list(KEY_MAP)
    assert list(received(plan.jobs["tables"]).pairs[0].methods) == ["kl", "crd", "hint"]
    probe = received(plan.jobs["probes/models/small/seed0/unary/predictions"]).instances[0].probe
    assert list(probe.options.class_map.options.classes) == list(CLASSES)
    for job in plan.jobs.values():
        assert json.dumps(received(job).model_dump(mode="json")) == json.dumps(
            job.settings.model_dump(mode="json")
        )


def test_classes_are_numbered_as_the_study_lists_them(plan, tmp_path):
    run_job(plan.jobs["subset/few"], tmp_path)
    about = json.loads((tmp_path / "subset/few/subset.json").read_text())
    assert about["classes"] == list(CLASSES)


def test_another_order_of_the_classes_is_another_job(plan):
    turned = Plan(parse(study(dict(reversed(CLASSES.items()))))).jobs["subset/few"]
    before = plan.jobs["subset/few"]
    assert turned.settings_json != before.settings_json
    said = settings(json.loads(before.settings_json), json.loads(turned.settings_json))
    assert said == ["the order of `classes` changed"]


def test_orders_that_mean_nothing_are_no_reason_to_run(plan):
    """Of domains, of groups, and of the keys of options."""
    raw = study()
    few = raw["data"]["sets"]["few"]
    few["domains"] = dict(reversed(few["domains"].items()))
    raw["data"]["sets"]["few"] = dict(reversed(few.items()))
    raw["models"] = {name: dict(reversed(m.items())) for name, m in raw["models"].items()}
    raw["models"]["small"]["data"]["per_group"] = {"b": 1, "a": 2}
    jobs = Plan(parse(raw)).jobs
    raw["models"]["small"]["data"]["per_group"] = {"a": 2, "b": 1}
    assert jobs["models/small/seed0"] == Plan(parse(raw)).jobs["models/small/seed0"]
    for target in ("subset/few", "models/big/seed0", "models/ready/seed0"):
        assert jobs[target].settings_json == plan.jobs[target].settings_json


def test_options_in_a_file_keep_their_order(tmp_path):
    """``model.json`` holds the options that its network is built from again."""
    write_json(tmp_path / "model.json", {"network": {"options": {"key_map": KEY_MAP}}})
    text = (tmp_path / "model.json").read_text()
    assert list(json.loads(text)["network"]["options"]["key_map"]) == list(KEY_MAP)
