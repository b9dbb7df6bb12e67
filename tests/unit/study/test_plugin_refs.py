"""References to plug-ins keep their options as objects from the study to the job."""

import json

import pytest

from helpers.mini_study import STUDY
from kdpipe.base.errors import KdpipeError
from kdpipe.base.plugin import STUDY_FILE, resolve
from kdpipe.distill import objectives
from kdpipe.distill.kl import KLOptions
from kdpipe.plan.plan import Plan
from kdpipe.probes import probes
from kdpipe.study.schema import parse


@pytest.fixture(scope="module")
def plan():
    return Plan(parse(STUDY))


def test_settings_of_a_job_are_the_same_objects_after_they_were_json(plan):
    for job in plan.jobs.values():
        assert type(job.settings).model_validate_json(job.settings_json) == job.settings, job.target


def test_a_reference_is_read_back_from_its_json_and_equals_itself():
    ref = resolve(objectives, {"objective": "kl", "temperature": 4}, "objective")
    again = resolve(objectives, json.loads(json.dumps(ref.as_json())), "objective")
    assert again == ref
    assert hash(again) == hash(ref)
    assert again.options == KLOptions(temperature=4)
    assert resolve(objectives, "kl") != ref


def test_changed_options_are_validated():
    ref = resolve(objectives, "kl")
    assert ref.with_options(temperature=2).options == KLOptions(temperature=2)
    with pytest.raises(KdpipeError, match=r"kl: 'temperature'.*greater than 0"):
        ref.with_options(temperature=-1)


def test_the_smallest_gap_stands_in_a_study_file_and_in_no_job():
    ref = resolve(probes, {"name": "accuracy", "min_gap": 0.5})
    assert ref.options.min_gap == 0.5
    assert "min_gap" not in ref.as_json()["options"]
    assert ref.as_json(STUDY_FILE)["options"]["min_gap"] == 0.5
