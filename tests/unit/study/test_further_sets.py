"""A further data set that a probe looks at, in a study and in its plan."""

from __future__ import annotations

import json

import pytest

from helpers.small_study import small
from kdpipe.base.errors import KdpipeError
from kdpipe.plan.plan import Plan
from kdpipe.study.schema import parse


def study(unknown, **data):
    raw = small()
    raw["data"]["sets"]["other"] = {**raw["data"]["sets"]["few"], **data}
    raw["probes"]["ood"] = {"unknown": unknown}
    raw["pairs"]["two"]["probes"] = ["ood"]
    return raw


def test_the_images_of_a_further_set_are_an_input_of_the_probe():
    plan = Plan(parse(study({"set": "other", "domains": ["colour"]})))
    target = "probes/students/two/kl/seed0/unary/predictions"
    inputs = plan.jobs[target].inputs
    assert [path for path in inputs if path.startswith("subset/")] == [
        "subset/few/subset.json",
        "subset/other/subset.json",
    ]
    own = Plan(parse(study({"domains": ["colour"]}))).jobs[target]
    assert "subset/other/subset.json" not in own.inputs
    (instance,) = json.loads(own.settings.model_dump_json())["instances"]
    assert "set" not in instance["probe"]["options"]["unknown"]  # as before there was the key


@pytest.mark.parametrize(
    ("unknown", "data", "said"),
    [
        ({"set": "nowhere", "domains": ["grey"]}, {}, r"probes\.ood\.set: there is no data set"),
        ({"set": "other", "domains": ["blue"]}, {}, r"'other' has no domain 'blue'"),
        ({"set": "few", "domains": ["colour"]}, {}, r"'few' is the set that it probes"),
        ({"set": "other", "domains": ["grey"]}, {"size": 20}, r"'other' are 20 pixels wide"),
    ],
    ids=["set", "domain", "own", "size"],
)
def test_a_further_set_that_cannot_be_probed_is_refused(unknown, data, said):
    with pytest.raises(KdpipeError, match=said):
        parse(study(unknown, **data))
