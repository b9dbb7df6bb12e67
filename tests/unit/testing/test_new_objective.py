"""A new objective is one file of a package: everything that names objectives finds it there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import yaml

from helpers.installed import installed
from helpers.places import TINY
from kdpipe.distill import objectives
from kdpipe.plan.plan import Plan
from kdpipe.results import words
from kdpipe.study.reference import reference
from kdpipe.study.schema import parse
from kdpipe.testing import check_objective

COSINE = '''
"""Angle: the student's logits point where the teacher's do."""

import torch.nn.functional as F
from pydantic import Field

from kdpipe.distill.base import Objective, ObjectiveOptions, objectives


class AngleOptions(ObjectiveOptions):
    beta: float = Field(2.0, ge=0, description="Weight of the angle.")


@objectives.register("angle_match")
class AngleMatch(Objective):
    """γ·CE + β·(1 − cos(z_t, z_s))."""

    Options = AngleOptions

    def forward(self, step):
        labels = self.label_loss(step)
        angle = 1 - F.cosine_similarity(step.teacher_logits, step.logits).mean()
        return {
            "loss": self.options.gamma * labels + self.options.beta * angle,
            "labels": labels,
            "angle": angle,
        }
'''


@pytest.fixture
def package(tmp_path) -> Iterator[str]:
    groups = {"kdpipe.objectives": {"angle_match": "angles.match"}}
    with installed(tmp_path, "angles", {"match": COSINE}, groups) as name:
        yield name


def planned(**methods: dict) -> Plan:
    study = yaml.safe_load(TINY.read_text())
    (pair,) = list(study["pairs"])[:1]
    study["pairs"][pair]["methods"] |= methods
    return Plan(parse(study))


def test_it_keeps_the_contracts_of_objectives(package):
    check_objective("angle_match")


def test_the_reference_lists_it_with_its_options(package):
    text = reference()
    assert "\n### angle_match (from `angles.match`)\n" in text
    assert "| `beta` | number ≥ 0 | `2.0` | Weight of the angle. |" in text


def test_a_plan_trains_its_students_and_changes_no_other_job(package):
    before, after = planned().jobs, planned(angle_match={"beta": 3}).jobs
    new = set(after) - set(before)
    assert {target.split("/")[0] for target in new} == {"students", "gate", "probes"}
    assert all("angle_match" in target for target in new)
    students = [after[target] for target in new if target.startswith("students")]
    assert all("angles.match" in job.modules for job in students)
    networks = [t for t in before if t.split("/")[0] in ("subset", "models", "students", "probes")]
    assert all(before[t].settings_json == after[t].settings_json for t in networks)
    assert all(before[t].code == after[t].code for t in networks)


def test_figures_and_report_name_it_behind_those_that_are_built_in(package):
    assert words.method_words("angle_match") == "angle match"
    assert words.method_order(["angle_match", "kl", "ind"])[-1] == "angle_match"
    assert "angle_match" in objectives.names()
