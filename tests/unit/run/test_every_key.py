"""Every objective with every way to choose images, start and teacher: it resumes to the same bytes,
or is refused in a sentence."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path
from typing import Any

import pytest

from helpers.mini_study import STUDY
from kdpipe.base.errors import KdpipeError
from kdpipe.distill import objectives
from kdpipe.plan.job import Job
from kdpipe.plan.order import Order
from kdpipe.plan.plan import Plan
from kdpipe.run.inprocess import run_job
from kdpipe.study.schema import parse
from kdpipe.training.checkpoint import Checkpoint

UNLABELLED: dict[str, Any] = {"gamma": 0}
KEYS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "noise": ({"transfer": {"noise": "uniform", "images": 24}}, UNLABELLED),
    "mixup": ({"transfer": {"mixup": 0.4}}, UNLABELLED),
    "beside": ({"transfer": {"domains": ["colour"], "beside": True}}, {}),
    "labelled": ({"transfer": {"domains": ["colour"], "labels": True}}, {}),
    "start": ({"init": {"from": "teacher", "noise": 0.1}}, {}),
    "mean": ({"teacher": [{"model": "big", "seed": 0}, {"model": "big", "seed": 1}]}, {}),
    "student": ({"teacher": {"pair": "first", "method": "kl", "seed": 3}}, {}),
    "auxiliary": (
        {"teacher": {"model": "big_more"}, "student": "small_more", "outputs": "auxiliary"},
        {},
    ),
}
OPTIONS: dict[str, dict[str, Any]] = {
    "sum": {"terms": [{"kl": {"gamma": 0}}, {"sp": {"gamma": 0}}]},
    "crd": {"negatives": 8},
}
NEEDS_LABELS = {"adversarial_training", "ard", "crd", "dkd", "labels", "nkd", "soft_label"}
LATER = {"simkd": "auxiliary"}
"""Keys that an objective refuses when it is made: only then are the networks there."""
NAMES = [name for name in objectives.names() if name.isidentifier()]


def study(objective: str) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """A study without pairs of interest, and one pair for each key."""
    raw = copy.deepcopy(STUDY)
    raw["data"]["sets"]["few"]["size"] = 12
    raw["training"] = {"epochs": 2, "batch_size": 12, "lr": 0.02, "optimizer": "sgd"}
    raw["data"]["sets"]["few"]["classes"]["mid"] = ["3", "4", "5"]
    for name, model in list(raw["models"].items()):
        model |= {"network": {"name": "wrn", "depth": 10, "width": 1}, "seeds": [0, 1]}
        raw["models"][f"{name}_more"] = {**model, "auxiliary": 3, "seeds": [0]}
    first = {**raw["pairs"].pop("only"), "probes": ["accuracy"], "seeds": [0]}
    raw["pairs"]["first"] = {**first, "seeds": [3]}
    pairs = {}
    for key, (change, options) in KEYS.items():
        method = {**OPTIONS.get(objective, {}), **options}
        pairs[key] = {
            **copy.deepcopy(first),
            "methods": {objective: method},
            **copy.deepcopy(change),
        }
    return raw, pairs


def accepted(name: str) -> tuple[Plan, dict[str, str]]:
    """The plan of all pairs that are not refused, and the sentences of the others."""
    raw, pairs = study(name)
    refused = {}
    for key, pair in pairs.items():
        try:
            parse({**raw, "pairs": {**raw["pairs"], key: pair}}, "study.yaml")
        except KdpipeError as error:
            refused[key] = str(error)
        else:
            raw["pairs"][key] = pair
    return Plan(parse(raw, "study.yaml")), refused


def missing(plan: Plan, root: Path) -> list[Job]:
    """Jobs up to the students, in their order, whose files are not there."""
    stages = ("subset", "train", "teacher_outputs", "distil")
    jobs = [job for stage in stages for job in Order().of(plan.jobs, plan.by_stage(stage))]
    return [job for job in jobs if not all((root / out).exists() for out in job.outputs)]


@pytest.fixture(scope="module")
def teachers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything that does not depend on the objective."""
    root = tmp_path_factory.mktemp("teachers")
    raw, _ = study("kl")
    for job in missing(Plan(parse(raw, "study.yaml")), root):
        run_job(job, root)
    return root


class KilledError(BaseException):
    """As SIGKILL: nothing is told, and nothing removed."""


@pytest.mark.parametrize("name", NAMES)
def test_a_killed_student_ends_in_the_same_bytes_or_is_refused(
    name, teachers, tmp_path, monkeypatch
):
    plan, refused = accepted(name)
    for sentence in refused.values():
        assert sentence.startswith("study.yaml: pairs.")
        assert "\n" not in sentence
    unlabelled = {"noise", "mixup", "beside"}
    assert (unlabelled <= refused.keys()) == (name in NEEDS_LABELS), refused
    assert not {"labelled", "start", "student"} & refused.keys(), refused

    shutil.copytree(teachers, tmp_path, dirs_exist_ok=True)
    save, left = Checkpoint.save, [0]

    def save_and_be_killed(self, state):
        save(self, state)
        left[0] -= 1
        if not left[0]:
            raise KilledError

    monkeypatch.setenv("KDPIPE_CHECKPOINT_SECONDS", "0")
    monkeypatch.setattr(Checkpoint, "save", save_and_be_killed)
    students = 0
    for job in missing(plan, tmp_path):
        if f"/{LATER.get(name)}/" in job.target:
            with pytest.raises(KdpipeError, match=r"^[^\n]+\.$"):
                run_job(job, tmp_path)
            refused[LATER[name]] = "when it is made"
            continue
        run_job(job, tmp_path)
        if job.stage != "distil":
            continue
        students += 1
        weights = tmp_path / job.target / "model.safetensors"
        whole = weights.read_bytes()
        shutil.rmtree(tmp_path / job.target)
        left[0] = 3
        with pytest.raises(KilledError):
            run_job(job, tmp_path)
        assert not weights.exists()
        run_job(job, tmp_path)
        assert weights.read_bytes() == whole, job.target
    assert students == len(KEYS) - len(refused)
