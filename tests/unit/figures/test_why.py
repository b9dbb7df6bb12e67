"""The study `why`: linear students recover their teacher, and its figure draws them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import yaml

from helpers.places import REPOSITORY
from kdpipe.data.sources.points import PointsOptions, linear
from kdpipe.figures.shared.square import labelled_points
from kdpipe.plan.plan import Plan
from kdpipe.probes.shared.records import read_records
from kdpipe.run.inprocess import run_all
from kdpipe.study.schema import parse


@pytest.fixture(scope="module")
def why(tmp_path_factory):
    """studies/why.yaml with two seeds, fewer sizes, steps and planes; the tables of its run."""
    raw = yaml.safe_load((REPOSITORY / "studies" / "why.yaml").read_text())
    kept = ("points003", "points005", "sectors", "wave_few")
    raw["pairs"] = {name: {**raw["pairs"][name], "seeds": [0, 1]} for name in kept}
    raw["training"]["epochs"] = 200
    used = {p["teacher"]["model"] for p in raw["pairs"].values()}
    used |= {p["student"] for p in raw["pairs"].values()}
    raw["models"] = {name: model for name, model in raw["models"].items() if name in used}
    for name, model in raw["models"].items():
        if "wave" in name or "few" in name:
            model["training"] = {**model["training"], "epochs": 2}
        if "seeds" in model:
            model["seeds"] = [0, 1]
    raw["probes"]["boundary"].update(triplets=4, resolution=6)
    folder = tmp_path_factory.mktemp("why")
    plan = Plan(parse(raw))
    run_all(plan, folder)
    for job in plan.jobs.values():
        for output in job.outputs:
            assert (folder / "why" / output).stat().st_size > 0, output
    return folder / "why"


def test_linear_student_of_enough_points_is_its_teacher(why):
    rows = pd.read_parquet(why / "tables" / "measurements.parquet")
    error = rows[(rows.metric == "weight_error") & (rows.condition == "logits=centred")]
    found = error.groupby(["pair", "method"]).value.agg(["min", "max"])
    assert found.loc[("points005", "logits"), "max"] < 1e-3
    assert found.loc[("points003", "logits"), "min"] > 0.1
    assert found.loc[("points003", "ind"), "min"] > 0.1
    assert found.loc[("points005", "ind"), "min"] > 0.1
    assert set(rows[rows.metric == "unknowns"].value) == {4}


def test_linear_student_follows_its_teacher_where_it_saw_nothing(why):
    rows = pd.read_parquet(why / "tables" / "measurements.parquet")
    part = rows[(rows.pair == "sectors") & (rows.condition == "domain=right")]
    found = part.groupby(["metric", "method"]).value.mean()
    assert found["boundary_agreement", "logits"] > 0.99
    assert found["boundary_agreement", "ind"] < 0.5
    assert found["accuracy", "ind"] < 0.1  # it never saw these classes
    assert found["accuracy", "logits"] > 0.9


def test_figure_counts_the_images_and_marks_the_unknowns(why):
    drawn = (why / "figures" / "why.svg").read_text()
    for text in ("students of teacher_cube", ">3<", ">5<", "4 unknowns", "median of 2 seeds"):
        assert text in drawn, text
    assert "Recovery of a linear teacher" in (why / "report.html").read_text()
    for text in ("sectors", "wave_few"):
        assert text in drawn, text


def test_labels_stand_where_their_points_are_in_the_square(why):
    """The teacher of the sectors knows the rule, so its labels tell where a point has to be."""
    path = "models/student_sectors/seed0/vs-teacher_sectors-seed0/predictions/boundary.parquet"
    table, about = read_records(why / "probes" / path)
    points, labels, names = labelled_points((table.to_pandas(), about), "teacher_plane")
    assert len(points) == 2 * 4 * 6 * 6  # domains, planes, grid
    right = linear(points, PointsOptions(rule="linear", classes=4))
    assert (labels == right).mean() > 0.9
    assert names[0] == "0"
    planes = about["notes"]["planes"].items()
    left = np.concatenate([p["corner_colours"] for where, p in planes if "left" in where])
    assert left[:, 0].max() < 0.5
    assert set(left[:, 2]) == {128 / 255}


def test_at_most_two_planes_a_domain_are_drawn_one_by_one(why):
    drawn = (why / "figures" / "planes.svg").read_text()
    assert "triplet 2" in drawn
    assert "triplet 3" not in drawn
