"""Every study file of the repository is valid and can be planned."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from helpers.places import STUDIES
from kdpipe.plan.cost import cost
from kdpipe.plan.estimate import Estimate
from kdpipe.plan.plan import Plan
from kdpipe.results.paper import published
from kdpipe.study.schema import load


@pytest.mark.parametrize("path", STUDIES, ids=lambda p: p.stem)
def test_study_is_valid_and_can_be_planned(path):
    study = load(path)
    plan = Plan(study)
    assert {job.stage for job in plan.jobs.values()} >= {"subset", "train", "probe", "tables"}
    for job in plan.jobs.values():
        # Plug-ins are looked up, and what is validated again in a job is what was planned.
        assert type(job.settings).model_validate_json(job.settings_json) == job.settings
        assert job.code


@pytest.mark.parametrize("path", STUDIES[1:], ids=lambda p: p.stem)
def test_study_opens_with_what_it_is_needs_and_costs(path):
    """The costs are those that ``kdpipe plan STUDY --tflops …`` states where no data are, in fp32:
    in bf16 teacher outputs are half as large."""
    text = path.read_text(encoding="utf-8")
    schema, first, second, third = text.splitlines()[:4]
    assert schema == "# yaml-language-server: $schema=schema.json"
    assert re.match(r"# (Reproduces|Measures|Chooses) \w.*\.$", first)
    assert re.match(r"# Needs \w.*\.$", second)
    said = re.match(r"# Costs: (.* at ([\d.]+) TFLOP/s; .* GB on disk)\.", third)
    assert said, third
    study = load(path)
    compute = study.compute.model_copy(update={"precision": "fp32"})
    plan = Plan(study.model_copy(update={"compute": compute}))
    nowhere = Estimate(plan, Path("/nowhere"))
    assert said[1] == cost(nowhere).words(float(said[2]))
    if any(data.source.name not in ("digits", "points") for data in study.data.sets.values()):
        assert study.data.root == "data"


def test_pairs_of_the_paper_are_in_a_study_each():
    """But for those that the paper's tables have as a second name of a pair."""
    found = {pair.paper for path in STUDIES for pair in load(path).pairs.values()} - {None}
    named = {cell.pair for cell in published()}
    assert found <= named
    assert named - found == {
        "vgg19>vgg11 (attack from resnet18)",  # the foreign attacker of vgg19>vgg11
        "resnet50>resnet18 (students no more accurate than ind)",  # whose settings nobody states
        "resnet50_sty>resnet18",  # the teacher of both stylised pairs
    }


def test_conditions_of_the_paper_that_studies_name_exist():
    for path in STUDIES:
        for name, pair in load(path).pairs.items():
            known = {cell.condition for cell in published()}
            for said in pair.paper_conditions.values():
                wanted = {said} if isinstance(said, str) else set(said)
                assert wanted <= known, (path, name)
