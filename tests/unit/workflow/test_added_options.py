"""Options added by an update of kdpipe are distinguished from a user's changes."""

from __future__ import annotations

import copy
import json

import pytest

from helpers.mini_study import STUDY
from kdpipe.plan.plan import Plan
from kdpipe.study.schema import parse
from kdpipe.workflow.added_options import only_added


@pytest.fixture(scope="module")
def jobs():
    raw = copy.deepcopy(STUDY)
    raw["data"]["sets"]["few"]["domains"]["pale"] = "original"
    return Plan(parse(raw)).jobs


def before(job, *path, value=None):
    """The settings of a job before an option came to be, or with another value."""
    settings = json.loads(job.settings_json)
    *above, last = path
    place = settings
    for step in above:
        place = place[step]
    if value is None:
        del place[last]
    else:
        assert place[last] != value
        place[last] = value
    return settings


SHIFT = "probes/models/small/seed0/unary/predictions"


def test_the_same_settings_are_the_same(jobs):
    assert all(only_added(json.loads(job.settings_json), job) for job in jobs.values())


def test_a_new_option_with_its_default_is_none_of_the_study(jobs):
    train, distil = jobs["models/small/seed0"], jobs["students/only/kl/seed0"]
    assert only_added(before(train, "recipe", "nesterov"), train)
    assert only_added(before(distil, "objective", "options", "alpha"), distil)
    probe = jobs[SHIFT]
    names = [instance.name for instance in probe.settings.instances]
    place = ("instances", names.index("accuracy"), "probe", "options", "limit")
    assert only_added(before(probe, *place), probe)


def test_a_new_option_with_another_value_is_a_setting(jobs):
    train, distil = jobs["models/small/seed0"], jobs["students/only/kl/seed0"]
    assert not only_added(before(train, "recipe", "epochs"), train)  # 1, and 14 by default
    probe = jobs[SHIFT]
    names = [instance.name for instance in probe.settings.instances]
    place = ("instances", names.index("shift"), "probe", "options", "distinct")
    assert not only_added(before(probe, *place), probe)
    assert not only_added(before(distil, "objective", "options", "temperature", value=5.0), distil)


def test_what_a_study_names_is_no_option(jobs):
    """One more domain, one option less, another order of the classes."""
    subset = jobs["subset/few"]
    assert not only_added(before(subset, "domains", "pale"), subset)
    assert not only_added({**json.loads(subset.settings_json), "gone": 1}, subset)
    turned = json.loads(subset.settings_json)
    turned["classes"] = dict(reversed(turned["classes"].items()))
    assert not only_added(turned, subset)


def test_options_of_a_model_may_be_in_another_order(jobs):
    train = jobs["models/small/seed0"]
    assert only_added(dict(reversed(json.loads(train.settings_json).items())), train)
