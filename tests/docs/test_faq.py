"""What the answers of docs/faq.md tell people to write is valid, and its code runs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import yaml

from helpers.pages import blocks
from helpers.places import REPOSITORY
from helpers.reruns import merged
from helpers.saved_network import ABOUT, REF
from kdpipe.models.base import build
from kdpipe.plan.plan import Plan
from kdpipe.study.schema import parse
from kdpipe.training.artefact import save

KEYS = [yaml.safe_load(text) for text in blocks("faq.md", "yaml")]


@pytest.mark.parametrize("number", range(len(KEYS)))
def test_keys_of_an_answer_are_valid_in_the_default_study(number: int) -> None:
    default: dict[str, Any] = yaml.safe_load((REPOSITORY / "config.yaml").read_text())
    edited = merged(default, KEYS[number])
    assert edited != default
    assert Plan(parse(edited)).jobs


def test_the_mean_of_several_teachers_is_what_the_answer_makes() -> None:
    default: dict[str, Any] = yaml.safe_load((REPOSITORY / "config.yaml").read_text())
    (keys,) = [found for found in KEYS if "ensemble" in found.get("pairs", {})]
    plan = Plan(parse(merged(default, keys)))
    (student,) = [job for job in plan.by_stage("distil") if "students/ensemble/" in job.target]
    read = {part for part in student.inputs if "models/teacher/" in part}
    assert {part.split("/seed")[1][0] for part in read} == {"0", "1"}


def test_the_exported_student_answers_as_the_student(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    network = build(REF, 3, ABOUT["mean"], ABOUT["std"], seed=4, side=16)
    folder = tmp_path / "results/digits/students/main/kl/seed0"
    save(folder, network, {**ABOUT, "side": 16}, [{"epoch": 1}])
    (code,) = blocks("faq.md", "python")
    names: dict[str, Any] = {}
    exec(compile(code, "faq.md", "exec"), names)
    exported = torch.export.load("student.pt2").module()
    images = torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(exported(images), names["student"](images))
