"""Points as images: how they are drawn, labelled and split."""

from __future__ import annotations

import numpy as np
import pytest

from kdpipe.base.errors import KdpipeError
from kdpipe.base.plugin import resolve
from kdpipe.data.domains import domains
from kdpipe.data.sources import sources
from kdpipe.data.sources.points import Points, PointsOptions, directions
from kdpipe.data.split import SplitFractions
from kdpipe.data.store import Subset
from kdpipe.probes.boundary import Boundary, BoundaryOptions
from kdpipe.stages import subset as stage
from kdpipe.stages.base import Call
from kdpipe.stages.subset import SubsetSettings
from kdpipe.study.schema import parse


def source(**options) -> Points:
    return Points(PointsOptions(**options), None)


def drawn(points: Points, split: str) -> np.ndarray:
    """Pixels (n, 3) of one split."""
    rows = np.flatnonzero(points.listing().splits == split)
    return np.stack(points.decode(rows))[:, 0, 0]


def subset_of(folder, names, **options) -> Subset:
    settings = SubsetSettings(
        name="points",
        source=resolve(sources, {"name": "points", **PointsOptions(**options).model_dump()}),
        size=8,
        split=SplitFractions(),
        seed=0,
        classes=None,
        per_class=None,
        domains={name: resolve(domains, "original") for name in names},
    )
    stage.run(settings, Call(folder, folder))
    return Subset(folder)


def test_points_fill_the_square_evenly_and_leave_the_third_channel_in_the_middle():
    pixels = drawn(source(train=4000), "train")
    assert (pixels[:, 2] == 128).all()
    counts, *_ = np.histogram2d(*pixels[:, :2].T, bins=4, range=[[-0.5, 255.5]] * 2)
    assert counts.min() > 180  # 250 are expected, ± 15
    assert counts.max() < 320
    assert len(np.unique(drawn(source(train=300, dimensions=3), "train")[:, 2])) > 100


def test_a_smaller_set_is_the_beginning_of_a_larger_and_splits_differ():
    few, many = source(train=5, dimensions=3), source(train=50, dimensions=3)
    np.testing.assert_array_equal(drawn(few, "train"), drawn(many, "train")[:5])
    np.testing.assert_array_equal(drawn(few, "test"), drawn(many, "test"))
    assert not (drawn(many, "train") == drawn(many, "test")[:50]).all(1).any()
    other = source(train=50, dimensions=3, seed=1)
    assert (drawn(many, "train") != drawn(other, "train")).any(1).all()


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("classes", [2, 3, 4, 7])
def test_directions_are_unit_vectors_and_apart(classes, dimensions):
    u = directions(classes, dimensions)
    assert u.shape == (classes, dimensions)
    np.testing.assert_allclose(np.linalg.norm(u, axis=1), 1)
    assert (u @ u.T - 2 * np.eye(classes)).max() < 0.8


@pytest.mark.parametrize(("dimensions", "classes"), [(2, 2), (2, 5), (3, 4)])
def test_linear_label_is_the_direction_of_the_smallest_angle(dimensions, classes):
    points = source(dimensions=dimensions, classes=classes)
    pixels = np.concatenate([drawn(points, s) for s in ("train", "val", "test")])
    seen = pixels[:, :dimensions] / 255 - 0.5
    u = directions(classes, dimensions)
    angles = np.arccos(seen @ u.T / np.linalg.norm(seen, axis=1)[:, None])
    labels = points.listing().labels
    np.testing.assert_array_equal(labels, angles.argmin(1))
    assert set(labels) == set(range(classes))


def test_wave_goes_up_on_the_left_and_down_on_the_right():
    points = source(rule="wave", amplitude=0.25, train=2000)
    labels = points.listing().labels[:2000]
    x, y = drawn(points, "train")[:, :2].T / 255
    for side, middle in ((x < 0.5, 0.5 + 0.25 * 2 / np.pi), (x >= 0.5, 0.5 - 0.25 * 2 / np.pi)):
        assert labels[side].mean() == pytest.approx(1 - middle, abs=0.04)
    assert (labels[y > 0.76] == 1).all()
    assert (labels[y < 0.24] == 0).all()
    at_the_crest = (abs(x - 0.25) < 0.05) & (y < 0.7)
    assert (labels[at_the_crest] == 0).all()


def test_a_wave_needs_a_square():
    raw = {"source": {"name": "points", "rule": "wave", "dimensions": 3}}
    with pytest.raises(KdpipeError, match="a wave parts a square into two"):
        parse({"study": "x", "data": {"sets": {"s": {**raw, "domains": {"d": "original"}}}}})


def test_subset_keeps_the_sources_own_splits_and_fills_images_with_the_point(tmp_path):
    subset = subset_of(tmp_path, ["cube"], dimensions=3, classes=4, train=3, val=2, test=7)
    splits, counts = np.unique(subset.index["split"], return_counts=True)
    assert dict(zip(splits, counts, strict=True)) == {"train": 3, "val": 2, "test": 7}
    pixels = np.asarray(subset.pixels)
    assert pixels.shape == (12, 8, 8, 3)
    assert (pixels == pixels[:, :1, :1]).all()
    train = pixels[subset.index["split"] == "train"][:, 0, 0]
    expected = drawn(source(dimensions=3, classes=4, train=3), "train")
    assert set(map(tuple, train)) == set(map(tuple, expected))


def test_halves_are_domains_of_different_points(tmp_path):
    subset = subset_of(tmp_path, ["left", "right"], rule="wave", train=80, halves=True)
    red, domain = np.asarray(subset.pixels)[:, 0, 0, 0], subset.index["domain"]
    assert red[domain == "left"].max() <= 127
    assert red[domain == "right"].min() >= 128
    assert (subset.index["split"] == "train").sum() == 80
    assert len(set(subset.index["source_id"])) == len(subset.index["source_id"])


def test_boundary_tells_the_colours_of_images_of_one_colour_only(kit):
    plain = np.zeros((3, 8, 8, 3), dtype=np.uint8)
    plain[:, :, :, :2] = np.array([[0, 51], [255, 0], [102, 204]])[:, None, None]
    network = kit.answers(np.eye(3)[np.arange(256) % 3])
    network.body.forward = lambda images: images.mean((2, 3))
    options = BoundaryOptions(set="set", domains=["grey"], triplets=1, resolution=3)
    for pixels, known in ((plain, True), (kit.numbered(3), False)):
        bench = kit.bench(pixels, [0, 1, 2], network, network)
        ((_, about),) = Boundary(options).measure(bench).notes["planes"].items()
        if known:
            found = np.array(about["corner_colours"])[np.argsort(about["corner_ids"])]
            np.testing.assert_allclose(found, plain[:, 0, 0] / 255)
        else:
            assert about["corner_colours"] is None
