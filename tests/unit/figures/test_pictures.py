"""Small pictures: stored by probes, drawn from the record files alone."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from kdpipe.base.paths import ModelRef
from kdpipe.figures import figures
from kdpipe.figures.shared import style
from kdpipe.figures.shared.find import find_figure
from kdpipe.figures.shared.pictures import pictures
from kdpipe.plan.plan import Plan
from kdpipe.probes.shared.pictures import SIDE, keep, spread, thumbnail
from kdpipe.probes.shared.records import Records, Statistic, read_records, write_records
from kdpipe.results.collect import read_network
from kdpipe.results.settings import InstanceSettings, PairSettings
from kdpipe.results.tables import Tables
from kdpipe.study.schema import parse


def pair_of(probe, relational=False):
    return PairSettings(
        name="main",
        teacher=ModelRef(model="wide", seed=0),
        student="small",
        ind_seeds=[4, 5],
        methods={"kl": [2, 3]},
        instances=[
            InstanceSettings(
                name="entry",
                probe=probe,
                family="attribution",
                relational=relational,
                min_gap=0.02,
            )
        ],
    )


def tables(root, pair, measurements=None, controls=None):
    columns = ["pair", "probe", "metric", "condition", "method", "value", "control_high"]
    empty = pd.DataFrame(columns=columns)
    measured = measurements if measurements is not None else empty.assign(probe=["x"])
    controls = empty if controls is None else controls
    return Tables(measured, empty, controls, empty, recorded=[pair], root=root)


def test_positions_are_spread_over_all_images():
    assert spread(10, 2).tolist() == [2, 7]
    assert spread(3, 5).tolist() == [0, 1, 2]
    assert spread(0, 2).tolist() == spread(7, 0).tolist() == []


def test_thumbnails_keep_small_images_and_shrink_large_ones():
    small = torch.rand(3, 28, 28)
    assert thumbnail(small) is small
    assert thumbnail(torch.full((3, 224, 112), 0.25)).shape == (3, SIDE, SIDE // 2)
    assert thumbnail(torch.full((3, 224, 112), 0.25)) == pytest.approx(0.25, abs=1e-6)


def test_pictures_come_back_and_are_no_measurements(tmp_path):
    records = Records()
    records.add(Statistic(condition="domain=grey", metric="agreement"), [1.0, 0.0])
    image, heat = torch.rand(3, 4, 5), np.random.default_rng(0).random((2, 3))
    keep(records, "domain=grey;image=7", image=image, map=heat)
    path = tmp_path / "entry.parquet"
    write_records(path, records, {})
    table, about = read_records(path)
    (found,) = pictures((table.to_pandas(), about)).values()
    assert found["image"] == pytest.approx(image.permute(1, 2, 0).numpy(), abs=0.51 / 255)
    assert found["map"] == pytest.approx(heat, abs=0.51 / 255)
    assert list(read_network(path, 0).outcomes) == [("domain=grey", "agreement")]


def write_maps(root, pair, network, level):
    """One image with a map that is bright in one corner, and a teacher's map in another."""
    records = Records()
    where = "domain=grey;image=7"
    mine, theirs = np.zeros((2, 2)), np.zeros((2, 2))
    mine[0, 1], theirs[1, 0] = level, 1
    keep(records, where, image=torch.full((3, 4, 4), 0.5), map=mine, teacher_map=theirs)
    records.notes["pictures"][where]["class"] = "cat"
    similarity = Statistic(condition="domain=grey", metric="cam_similarity", target="one")
    records.add(similarity, [level / 2, 0.9], unit_ids=[7, 8])
    write_records(root / pair.record_file(network, pair.instances[0]), records, {})


def rates(pair, **of_method):
    rows = [
        {"pair": pair.name, "probe": "localization", "metric": "cam_win_rate",
         "condition": "domain=grey", "method": method, "value": value, "unit": "sample", "n": 9}
        for method, values in of_method.items() for value in values
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_maps_of_all_methods_stand_beside_the_teachers(tmp_path):
    pair = pair_of("localization", relational=True)
    write_maps(tmp_path, pair, pair.independents()[0], 0.5)
    write_maps(tmp_path, pair, pair.students("kl")[0], 1.0)
    measured = rates(pair, ind=[0.5, 0.5], kl=[0.6, 0.8])
    controls = rates(pair, kl=[0.5]).assign(control_high=0.07)
    cams = figures.get("cams")()
    found = tables(tmp_path, pair, measured, controls)
    assert cams.missing(found) is None
    with style.context():
        axes = [ax for ax in cams.draw(found).axes if ax.images]
    assert [ax.get_title().replace("\N{NO-BREAK SPACE}", " ") for ax in axes[:4]] == [
        "Image\n(of n = 9)",
        "Teacher",
        "Independent\n50 ± 7 % (range)",
        "KL\nwins 70 ± 14 %",
    ]
    assert [ax.get_xlabel() for ax in axes[2:4]] == ["cosine 0.25", "cosine 0.50"]
    assert axes[0].get_ylabel() == "grey image 7\nclass cat"
    maps = [np.asarray(ax.images[1].get_array()) for ax in axes[1:4]]
    for heat, expected in zip(maps, ([0, 0, 1, 0], [0, 0.5, 0, 0], [0, 1, 0, 0]), strict=True):
        assert heat.ravel() == pytest.approx(expected, abs=0.51 / 255)


def test_without_maps_the_figure_says_how_to_keep_some(tmp_path):
    pair = pair_of("localization", relational=True)
    records = Records()
    records.add(Statistic(condition="domain=grey", metric="cam_similarity"), [0.5])
    for network in (pair.independents()[0], pair.students("kl")[0]):
        write_records(tmp_path / pair.record_file(network, pair.instances[0]), records, {})
    found = tables(tmp_path, pair, rates(pair, kl=[0.5]))
    assert "option pictured of localization" in figures.get("cams")().missing(found)


@pytest.mark.parametrize("clean", [True, False])
def test_views_stand_in_the_order_of_their_strengths(tmp_path, clean):
    pair = pair_of("crop")
    records = Records()
    image = torch.full((3, 2, 2), 0.2)
    for scale in (0.6, 0.3):
        views = {"first_view": image if clean else image + 0.4, "second_view": image + scale}
        keep(records, f"domain=grey;scale={scale};image=3", image=image, **views)
    path = tmp_path / pair.record_file(pair.independents()[0], pair.instances[0])
    write_records(path, records, {})
    found = tables(tmp_path, pair, pd.DataFrame({"probe": ["crop"]}))
    figure = find_figure("crop_views")
    assert figure.missing(found) is None
    with style.context():
        axes = figure.draw(found).axes
    assert [ax.get_title() for ax in axes] == ["Image", "scale 0.3", "scale 0.6"]
    for ax, scale in zip(axes[1:], (0.3, 0.6), strict=True):
        shown = np.asarray(ax.images[0].get_array())
        assert shown.shape == (2, 2 if clean else 5, 3)
        assert shown[:, -2:] == pytest.approx(0.2 + scale, abs=0.51 / 255)
        assert shown[:, :2] == pytest.approx(0.2 + (scale if clean else 0.4), abs=0.51 / 255)


STUDY = {
    "study": "drawn",
    "data": {"sets": {"d": {"source": "digits", "domains": {"grey": "original"}}}},
    "compute": {"device": "cpu", "precision": "fp32", "threads": 1},
    "models": {
        name: {"network": "mnist_cnn", "data": {"set": "d", "domains": ["grey"]}}
        for name in ("big", "small")
    },
    "probes": {"accuracy": {}},
    "pairs": {
        "main": {
            "teacher": {"model": "big"},
            "student": "small",
            "seeds": [0],
            "methods": {"kl": {}, "mine": {"objective": "soft_label"},
                        "features": {"objective": "crd"}},
            "probes": ["accuracy"],
        }
    },
}  # fmt: skip


def test_the_plan_says_which_methods_see_no_teacher():
    plan = Plan(parse(STUDY))
    drawing, writing = plan.jobs["figures"].settings, plan.jobs["report.html"].settings
    assert drawing.answer_methods == {"main": ["kl", "mine"]}
    assert drawing.without_teacher == ["mine"]
    assert writing.without_teacher == {"main": ["mine"]}
    assert "soft_label" in drawing.figures
    taught = {**STUDY["pairs"]["main"], "methods": {"kl": {}}}
    drawing = Plan(parse({**STUDY, "pairs": {"main": taught}})).jobs["figures"].settings
    assert (drawing.answer_methods, "soft_label" in drawing.figures) == ({}, False)
    assert "paper" not in drawing.figures
