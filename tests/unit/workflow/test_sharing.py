"""The cache key of a shared output: what changes it, and what does not."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from helpers.places import DEFAULT
from kdpipe.plan.plan import Plan
from kdpipe.study.schema import load, parse
from kdpipe.workflow import sharing


@pytest.fixture
def jobs(monkeypatch):
    monkeypatch.setenv(sharing.VARIABLE, "/some/where")
    monkeypatch.delenv("KDPIPE_DATA", raising=False)
    return Plan(load(DEFAULT)).jobs


def test_without_a_cache_nothing_is_looked_at(jobs, monkeypatch):
    monkeypatch.delenv(sharing.VARIABLE)
    monkeypatch.setattr(sharing, "versions", lambda: pytest.fail("looked"))
    assert sharing.surroundings(next(iter(jobs.values()))) == ""


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("versions", lambda: {"torch": "0.1"}),
        ("read_cpu_flags", lambda: frozenset({"avx2"})),
        ("gpu_names", lambda: ["another"]),
    ],
)
def test_versions_and_machine_are_in_the_key(jobs, monkeypatch, name, other):
    job = jobs["subset/digits"]
    before = sharing.surroundings(job)
    assert before == sharing.surroundings(job)
    monkeypatch.setattr(sharing, name, other)
    assert sharing.surroundings(job) != before


def test_flags_without_a_kernel_do_not_count(jobs, monkeypatch):
    job = jobs["subset/digits"]
    monkeypatch.setattr(sharing, "read_cpu_flags", lambda: frozenset({"avx2", "fpu"}))
    before = sharing.surroundings(job)
    monkeypatch.setattr(sharing, "read_cpu_flags", lambda: frozenset({"avx2"}))
    assert sharing.surroundings(job) == before


def test_data_on_disk_are_in_the_key_of_the_subset(jobs, tmp_path, monkeypatch):
    folder = tmp_path / "model-vs-human" / "sketch" / "cat"
    folder.mkdir(parents=True)

    def draw(name, value):
        Image.fromarray(np.full((8, 8, 3), value, np.uint8)).save(folder / name)

    draw("a.png", 3)
    raw = {
        "study": "s",
        "data": {
            "sets": {
                "d": {
                    "source": {"name": "model_vs_human", "folders": ["sketch"]},
                    "domains": {"sketch": "original"},
                }
            }
        },
        "models": {"m": {"network": "mnist_cnn", "data": {"set": "d", "domains": ["sketch"]}}},
        "probes": {"accuracy": {}},
        "pairs": {
            "p": {
                "teacher": {"model": "m", "seed": 1},
                "student": "m",
                "methods": {"kl": {}},
                "probes": ["accuracy"],
            }
        },
    }
    job = Plan(parse(raw)).jobs["subset/d"]
    absent = sharing.surroundings(job)
    monkeypatch.setenv("KDPIPE_DATA", str(tmp_path))
    keys = [absent, sharing.surroundings(job)]
    assert keys[1] == sharing.surroundings(job)
    draw("a.png", 4)
    keys.append(sharing.surroundings(job))
    draw("b.png", 4)
    keys.append(sharing.surroundings(job))
    assert len(set(keys)) == 4


def test_neither_name_nor_title_of_the_study_is_in_what_is_shared():
    """What Snakemake puts into the key, for a study and the same one under another name."""
    from kdpipe.workflow.snakefile import parameters

    def keys(**changed):
        plan = Plan(load(DEFAULT).model_copy(update=changed))
        stages = ("subset", "train", "teacher_outputs", "distil")
        return [parameters(plan, job) for s in stages for job in plan.by_stage(s)]

    assert keys() == keys(study="another", title="Another")
    assert keys() != keys(compute=load(DEFAULT).compute.model_copy(update={"threads": 2}))
