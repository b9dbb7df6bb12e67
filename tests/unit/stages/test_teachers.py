"""A study whose teachers were distilled, are several networks, or were never trained."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pandas as pd
import pytest

from helpers.mini_study import STUDY
from kdpipe.plan.plan import Plan
from kdpipe.results.tables import Tables
from kdpipe.run.inprocess import run_all
from kdpipe.study.schema import parse

PAIR = {"student": "small", "seeds": [0, 1], "methods": {"kl": {"temperature": 4}}}
PROBES = ["accuracy", "consensus", "fidelity"]


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    raw = copy.deepcopy(STUDY)
    data = raw["data"]["sets"]["few"]
    data["domains"] = {"grey": "original"}
    mlp = {"name": "pixel_mlp", "hidden": [8]}
    images = {"set": "few", "domains": ["grey"]}
    raw["models"] = {
        "big": {"network": mlp, "data": images, "seeds": [0, 1]},
        "small": {"network": mlp, "data": images, "seeds": [0, 1]},
        "random": {"network": mlp, "data": images, "training": {"epochs": 0}},
    }
    raw["probes"] = {name: {} for name in PROBES}
    first = {"pair": "first", "method": "kl", "seed": 5}
    raw["pairs"] = {
        name: {**PAIR, "probes": PROBES, "teacher": teacher}
        for name, teacher in {
            "first": {"model": "big"},
            "next": first,
            "several": [{"model": "big"}, {"model": "big", "seed": 1}, first],
            "twice": [{"model": "big"}, {"model": "big", "seed": 0}],
            "nothing": {"model": "random"},
        }.items()
    }
    plan = Plan(parse(raw))
    folder = tmp_path_factory.mktemp("study")
    run_all(plan, folder)
    for job in plan.jobs.values():
        for output in job.outputs:
            assert (folder / "mini" / output).exists(), output
    return folder / "mini"


@pytest.fixture(scope="module")
def measured(root) -> pd.DataFrame:
    return pd.read_parquet(root / "tables/measurements.parquet")


def bytes_of(root: Path, pair: str, seed: int = 0) -> bytes:
    return (root / f"students/{pair}/kl/seed{seed}/model.safetensors").read_bytes()


def test_one_network_named_twice_gives_the_bytes_of_one(root):
    assert bytes_of(root, "twice") == bytes_of(root, "first")
    assert bytes_of(root, "several") != bytes_of(root, "first")
    assert bytes_of(root, "next") != bytes_of(root, "first")


def test_a_student_names_the_files_of_all_its_teachers(root):
    about = json.loads((root / "students/several/kl/seed0/model.json").read_text())
    assert set(about["provenance"]["inputs"]) == {
        "subset.json",
        "teacher 0",
        "teacher 1",
        "teacher 2",
    }


def test_tables_call_teachers_by_readable_names(measured):
    names = measured.groupby("pair")["teacher"].unique()
    assert {pair: list(found) for pair, found in names.items()} == {
        "first": ["big"],
        "next": ["first/kl"],
        "several": ["mean of big 0, big 1, first/kl 5"],
        "twice": ["big"],
        "nothing": ["random"],
    }


def test_a_distilled_teacher_has_the_accuracy_of_a_student(measured):
    rows = measured.query("probe == 'accuracy' and metric == 'accuracy' and pair == 'next'")
    teacher = rows[rows["method"] == "teacher"]
    assert list(teacher["seed"]) == [5]
    ceiling = measured.query("pair == 'next' and method == 'teacher2' and probe == 'fidelity'")
    assert set(ceiling["seed"]) == {0}


def test_several_teachers_are_measured_as_one(measured):
    rows = measured.query("pair == 'several' and method == 'teacher'")
    assert set(rows["probe"]) == {"accuracy"}
    assert rows["value"].between(0, 1).all()
    assert not len(measured.query("pair == 'several' and method == 'teacher2'"))


def test_an_untrained_network_is_the_floor_of_every_similarity(root, measured):
    """It is compared with each teacher, where a property is a similarity, and with nobody else."""
    rows = measured[measured["method"] == "untrained"]
    assert set(rows["pair"]) == {"first", "next", "several", "twice"}  # else the teacher
    assert set(rows["probe"]) == {"consensus", "fidelity"}
    assert set(rows["student"]) == {"random"}
    shown = Tables.load(root, []).transfer
    for _, row in shown.query("probe == 'fidelity' and pair != 'nothing'").iterrows():
        keys = ("pair", "probe", "condition", "metric")
        own = rows[(rows[[*keys]] == row[[*keys]]).all(axis=1)]["value"]
        assert list(own) == [row["floor"]]
    assert "floor" not in pd.read_parquet(root / "tables/transfer.parquet")


def test_the_report_names_teachers_and_shows_the_floor(root):
    page = (root / "report.html").read_text()
    assert "first/kl" in page
    assert "Untrained network" in page
