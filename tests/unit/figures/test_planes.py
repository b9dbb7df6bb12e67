"""Pictures of planes, drawn from record files alone."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_hex

from kdpipe.base.errors import KdpipeError
from kdpipe.base.paths import ModelRef
from kdpipe.figures.planes import PALETTE, Planes
from kdpipe.figures.shared import style
from kdpipe.plan.plan import Plan
from kdpipe.probes.shared.records import Records, Statistic, write_records
from kdpipe.results.settings import InstanceSettings, PairSettings
from kdpipe.results.tables import Tables
from kdpipe.study.schema import parse

PAIR = PairSettings(
    name="main",
    teacher=ModelRef(model="wide", seed=0),
    student="small",
    ind_seeds=[4, 5],
    methods={"kl": [2, 3], "hint": [6]},
    instances=[
        InstanceSettings(
            name="planes", probe="boundary", family="predictions", relational=True,
            min_gap=0.02,
        )
    ],
)  # fmt: skip
BOUNDS = [[-0.1, 1.1], [-0.2, 2.2]]
CORNERS = [[0.0, 0.0], [1.0, 0.0], [0.4, 2.0]]


def write(root, network, labels, teacher, names, where="domain=grey;triplet=0"):
    """A record file with one plane; labels (side, side) by first and second coordinate."""
    records = Records(notes={"planes": {}, "classes": names, "without_plane": {}})
    if labels is not None:
        for metric, values in (("plane", labels), ("teacher_plane", teacher)):
            statistic = Statistic(condition=where, metric=metric, target="none", tables="none")
            records.add(statistic, np.ravel(values), unit="grid point")
        about = {"bounds": BOUNDS, "corners": CORNERS, "corner_labels": [0, 1, 1]}
        records.notes["planes"][where] = {**about, "corner_ids": [7, 8, 9]}
    share = Statistic(condition="domain=grey", metric="boundary_agreement", target="one")
    records.add(share, [0.5], unit="triplet")
    path = root / PAIR.record_file(network, PAIR.instances[0])
    write_records(path, records, {"probe": "boundary"})
    return path


TEACHER = np.array([[0, 0, 0], [0, 0, 1], [1, 1, 1]])
LABELS = {
    "ind": np.array([[0, 0, 1], [0, 1, 1], [1, 1, 1]]),
    "kl": TEACHER,
    "hint": np.full((3, 3), 1),
}
NAMES = {"0": "cat", "1": "a rather long name"}


def tables(root, pairs=(PAIR,)):
    import pandas as pd

    measured = pd.DataFrame({"probe": ["boundary"], "pair": ["main"]})
    empty = pd.DataFrame()
    return Tables(measured, empty, empty, empty, recorded=list(pairs), root=root)


@pytest.fixture
def root(tmp_path):
    networks = [*PAIR.independents()[:1], PAIR.students("kl")[0], PAIR.students("hint")[0]]
    for network, labels in zip(networks, LABELS.values(), strict=True):
        write(tmp_path, network, labels, TEACHER, NAMES)
    return tmp_path


def panels(root):
    with style.context():
        canvas = Planes().draw(tables(root))
        canvas.draw_without_rendering()
    return canvas, [ax for ax in canvas.axes if ax.images]


def test_each_panel_shows_the_labels_of_its_network_the_right_way_round(root):
    _, axes = panels(root)
    assert len(axes) == 4
    for ax, labels in zip(axes, [TEACHER, *LABELS.values()], strict=True):
        (image,) = ax.images
        assert image.origin == "lower"
        got = image.get_array()
        for i in range(3):
            for j in range(3):  # first coordinate to the right, second one up
                assert to_hex(got[j, i]) == PALETTE[labels[i, j]].lower()
    titles = [ax.get_title() for ax in axes]
    assert titles == ["Teacher", "Independent\nseed 4", "KL\nseed 2", "Hint\nseed 6"]
    below = [ax.get_xlabel() for ax in axes]
    assert [text.split()[0] if text else "" for text in below] == ["", "78", "100", "44"]
    assert axes[0].get_ylabel() == "grey images\ntriplet 1"


def test_grid_points_lie_in_the_middle_of_their_cells_and_images_where_they_are(root):
    _, axes = panels(root)
    for ax in axes:
        # Three points from −0.1 to 1.1 are 0.6 apart; from −0.2 to 2.2, 1.2.
        np.testing.assert_allclose(ax.images[0].get_extent(), [-0.4, 1.4, -0.8, 2.8])
        marks = {(line.get_xdata()[0], line.get_ydata()[0]): line for line in ax.lines}
        assert set(marks) == {tuple(c) for c in CORNERS}
        fills = [marks[tuple(c)].get_markerfacecolor() for c in CORNERS]
        assert fills == [PALETTE[0], PALETTE[1], PALETTE[1]]


def test_names_are_short_and_off_the_images(root):
    canvas, axes = panels(root)
    written = [t for t in axes[0].texts if t.get_text()]
    assert [t.get_text() for t in written] == ["cat"]
    x, y = written[0].get_position()
    assert min(np.hypot(x - a, y - b) for a, b in CORNERS) > 0.3
    legend = [t.get_text() for t in canvas.legends[0].get_texts()]
    assert legend[:2] == ["cat", "a rather long name"]


def test_of_many_classes_those_of_the_largest_regions_have_colours(tmp_path):
    """31 classes, of which twelve occur: one almost everywhere, one in two cells, ten in one."""
    names = {str(k): f"c{k}" for k in range(31)}
    labels = np.full((5, 5), 30)
    labels[:4, 0], labels[:4, 1] = [21, 22, 23, 24], [11, 12, 13, 14]
    labels[:4, 2] = [25, 26, 27, 27]
    for network in (*PAIR.independents()[:1], *(PAIR.students(m)[0] for m in PAIR.methods)):
        write(tmp_path, network, labels, labels, names)
    canvas, axes = panels(tmp_path)
    shown = [t.get_text() for t in canvas.legends[0].get_texts()]
    assert len(shown) == 12
    assert shown[-2:] == ["other classes", "one of the three images, filled by its true class"]
    assert {"c30", "c27"} <= set(shown)
    colours = {to_hex(c) for c in axes[0].images[0].get_array().reshape(-1, 3)}
    assert len(colours) == 11
    assert "#ffffff" in colours


def test_planes_of_all_domains_in_the_order_of_their_numbers(root):
    networks = [*PAIR.independents()[:1], PAIR.students("kl")[0], PAIR.students("hint")[0]]
    places = ["domain=grey;triplet=10", "domain=colour;triplet=1", "domain=grey;triplet=2"]
    for network in networks:
        records = Records(notes={"planes": {}, "classes": NAMES})
        for where in places:
            for metric in ("plane", "teacher_plane"):
                s = Statistic(condition=where, metric=metric, target="none", tables="none")
                records.add(s, TEACHER.ravel(), unit="grid point")
            about = {"bounds": BOUNDS, "corners": CORNERS, "corner_labels": [0, 1, 1]}
            records.notes["planes"][where] = about
        write_records(root / PAIR.record_file(network, PAIR.instances[0]), records, {})
    _, axes = panels(root)
    rows = [ax.get_ylabel() for ax in axes if ax.get_ylabel()]
    assert rows == ["colour images\ntriplet 2", "grey images\ntriplet 3", "grey images\ntriplet 11"]


def test_says_when_no_plane_was_kept(tmp_path):
    for network in (*PAIR.independents()[:1], *(PAIR.students(m)[0] for m in PAIR.methods)):
        write(tmp_path, network, None, None, {})
    assert "keeps no planes" in Planes().missing(tables(tmp_path))
    assert "keeps no planes" in Planes().missing(tables(tmp_path, []))


def test_a_missing_record_file_is_named(root):
    (root / PAIR.record_file(PAIR.students("hint")[0], PAIR.instances[0])).unlink()
    with pytest.raises(KdpipeError, match=r"hint/seed6/.*planes\.parquet is missing"):
        Planes().missing(tables(root))


STUDY = {
    "study": "drawn",
    "data": {"sets": {"d": {"source": "digits", "domains": {"grey": "original"}}}},
    "compute": {"device": "cpu", "precision": "fp32", "threads": 1},
    "models": {
        "big": {"network": "mnist_cnn", "data": {"set": "d", "domains": ["grey"]}},
        "small": {
            "network": "mnist_cnn",
            "data": {"set": "d", "domains": ["grey"]},
            "seeds": [0, 1],
        },
    },
    "probes": {"planes": {"probe": "boundary"}, "calibration": {}, "accuracy": {}},
    "pairs": {
        name: {
            "teacher": {"model": "big"},
            "student": "small",
            "seeds": [0],
            "methods": {"kl": {}},
            "probes": probes,
        }
        for name, probes in (
            ("one", ["planes", "calibration", "accuracy"]),
            ("two", ["calibration"]),
        )
    },
}


def test_the_drawing_depends_on_the_records_it_reads_and_on_no_others():
    job = Plan(parse(STUDY)).jobs["figures"]
    records = {path for path in job.inputs if path.startswith("probes/")}
    assert records == {
        "probes/models/small/seed0/vs-big-seed0/predictions",
        "probes/models/small/seed1/vs-big-seed0/predictions",
        "probes/students/one/kl/seed0/vs-big-seed0/predictions",
    }
    (pair,) = job.settings.recorded
    assert (pair.name, [i.name for i in pair.instances]) == ("one", ["planes"])
    plain = {**STUDY, "pairs": {"two": STUDY["pairs"]["two"]}}
    job = Plan(parse(plain)).jobs["figures"]
    assert not [path for path in job.inputs if path.startswith("probes/")]
    assert job.settings.recorded == []
