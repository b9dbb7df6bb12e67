"""Planes against an explicit loop over their points, and overlaps against scikit-learn.

Tolerances: labels, and what is counted from them, have to be equal; coordinates 1e-6 relative,
because images are float32.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import jaccard_score
from torch import nn
from torchmetrics.classification import MulticlassJaccardIndex

from kdpipe.probes.boundary import Boundary, BoundaryOptions, Plane, class_iou


class Wavy(nn.Module):
    """A network whose regions are many and not convex."""

    def __init__(self, seed, classes=4, size=3 * 4 * 5):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.fc1, self.fc2 = nn.Linear(size, 20), nn.Linear(20, classes)
        self.fc1.weight.data *= 6

    def forward(self, images):
        return self.fc2((self.fc1(images.flatten(1))).sin())


def options(**given):
    return BoundaryOptions(**{"set": "tiny", "domains": ["grey"], **given})


def pixels_of(n, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, 4, 5, 3), dtype=np.uint8)


def plane_by_definition(images, resolution, margin):
    """Points (resolution, resolution, …) and the coordinates of the three images.

    Gram–Schmidt on the differences from the first image; on each axis the interval that holds the
    three images, widened on both sides by a share of its length.
    """
    x1, x2, x3 = (image.astype(np.float64).ravel() for image in images)
    length = np.sqrt(((x2 - x1) ** 2).sum())
    e1 = (x2 - x1) / length
    along = ((x3 - x1) * e1).sum()
    rest = (x3 - x1) - along * e1
    height = np.sqrt((rest**2).sum())
    e2 = rest / height
    corners = [(0.0, 0.0), (length, 0.0), (along, height)]
    ticks = []
    for axis in (0, 1):
        low, high = min(c[axis] for c in corners), max(c[axis] for c in corners)
        first, last = low - margin * (high - low), high + margin * (high - low)
        step = (last - first) / (resolution - 1)
        ticks.append([first + i * step for i in range(resolution)])
    points = np.zeros((resolution, resolution, len(x1)))
    for i, s in enumerate(ticks[0]):
        for j, t in enumerate(ticks[1]):
            points[i, j] = x1 + s * e1 + t * e2
    return points, np.array(corners)


@pytest.mark.parametrize("margin", [0.1, 0.7])
def test_every_grid_point_of_every_triplet(kit, margin):
    mine, theirs = kit.network(Wavy(0)), kit.network(Wavy(1))
    pixels, resolution, count = pixels_of(9), 6, 5
    labels = np.arange(9) % 4
    bench = kit.bench(pixels, labels, mine, theirs, classes=["a", "b", "c", "d"])
    given = options(triplets=count, resolution=resolution, margin=margin, pictured=count)
    records = Boundary(given).measure(bench)
    agreement, iou = (
        kit.values(records, m, "domain=grey", "triplet")
        for m in ("boundary_agreement", "boundary_iou")
    )
    assert len(agreement) == len(iou) == count
    assert len(np.unique(agreement)) > 2
    for triplet in range(count):
        where = f"domain=grey;triplet={triplet}"
        about = records.notes["planes"][where]
        chosen = about["corner_ids"]
        assert len(set(chosen)) == 3
        assert about["corner_labels"] == labels[chosen].tolist()
        images = pixels[chosen].transpose(0, 3, 1, 2) / 255
        points, corners = plane_by_definition(images, resolution, margin)
        np.testing.assert_allclose(about["corners"], corners, rtol=1e-6, atol=1e-6)
        low, high = corners.min(0), corners.max(0)
        reach = margin * (high - low)
        np.testing.assert_allclose(
            about["bounds"], np.stack([low - reach, high + reach], 1), rtol=1e-6, atol=1e-6
        )
        a, b = np.zeros((resolution, resolution), int), np.zeros((resolution, resolution), int)
        with torch.no_grad():
            for i in range(resolution):
                for j in range(resolution):
                    image = torch.from_numpy(points[i, j].reshape(1, 3, 4, 5)).float()
                    a[i, j], b[i, j] = (int(net(image).argmax()) for net in (mine, theirs))
        assert kit.values(records, "plane", where, "grid point").tolist() == a.ravel().tolist()
        kept = kit.values(records, "teacher_plane", where, "grid point")
        assert kept.tolist() == b.ravel().tolist()
        assert agreement[triplet] == (a == b).mean()
        union = sorted({*a.ravel(), *b.ravel()})
        assert iou[triplet] == pytest.approx(
            jaccard_score(b.ravel(), a.ravel(), labels=union, average="macro")
        )


def test_the_grid_is_that_of_the_authors_by_default():
    given = BoundaryOptions()
    assert (given.triplets, given.resolution, given.margin) == (50, 50, 0.1)


def test_an_obtuse_triplet_widens_the_interval_on_the_side_of_its_third_image():
    """Images at (0, 0), (1, 0), (−3, 2): x from −3 to 1, a tenth of 4 beyond; y a tenth of 2."""
    triplet = torch.zeros(3, 3, 1, 1)
    triplet[1, 0], triplet[2, 0], triplet[2, 1] = 1, -3, 2
    plane = Plane.through(triplet)
    np.testing.assert_allclose(plane.corners, [[0, 0], [1, 0], [-3, 2]], atol=1e-12)
    np.testing.assert_allclose(plane.bounds(0.1), [[-3.4, 1.4], [-0.2, 2.2]], atol=1e-12)
    grid = plane.grid(7, 0.1)
    assert grid.shape == (49, 2)
    np.testing.assert_allclose(grid[[0, 1, -1]], [[-3.4, -0.2], [-3.4, 0.2], [1.4, 2.2]])
    # Points outside of [0, 1] are shown to the network as they are.
    (points,) = plane.images(grid)
    assert points.min() < -3
    assert points[:, 2].abs().max() == 0


def test_more_points_than_a_batch_come_in_order():
    triplet = torch.rand(3, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    plane = Plane.through(triplet)
    grid = plane.grid(23, 0.1)
    batches = list(plane.images(grid))
    assert [len(b) for b in batches] == [256, 256, 17]
    together = torch.cat(batches).flatten(1).double().numpy()
    want = plane.origin.numpy() + grid @ plane.axes.numpy()
    np.testing.assert_allclose(together, want, atol=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_overlap_of_regions_against_torchmetrics(seed):
    """Its macro average leaves out classes that occur in neither, as ours does."""
    rng = np.random.default_rng(seed)
    many, few = rng.integers(0, 6, 80), rng.integers(1, 5, 80)
    # Either network may have regions that the other lacks.
    for one, two in ((many, few), (few, many)):
        ours = class_iou(one, two)
        theirs = MulticlassJaccardIndex(9, average="macro")(torch.tensor(one), torch.tensor(two))
        assert ours == pytest.approx(float(theirs), rel=1e-6)


# --- degenerate ----------------------------------------------------------------------------------


class Constant(nn.Module):
    def __init__(self, logits):
        super().__init__()
        self.logits = torch.tensor(logits)

    def forward(self, images):
        return self.logits.expand(len(images), -1)


def measured(kit, mine, theirs, pixels, **given):
    bench = kit.bench(pixels, [0] * len(pixels), mine, theirs)
    records = Boundary(options(**{"triplets": 4, "resolution": 4, **given})).measure(bench)
    names = ("boundary_agreement", "boundary_iou")
    return records, [kit.values(records, m, unit="triplet").tolist() for m in names]


def test_constant_networks_and_a_single_class(kit):
    first, second = kit.network(Constant([1.0, 0, 0])), kit.network(Constant([0.0, 1, 0]))
    assert measured(kit, first, first, pixels_of(5))[1] == [[1] * 4, [1] * 4]
    assert measured(kit, first, second, pixels_of(5))[1] == [[0] * 4, [0] * 4]
    single = kit.network(Constant([0.3]))
    assert measured(kit, single, single, pixels_of(5))[1] == [[1] * 4, [1] * 4]
    # Equal logits are a tie, which goes to the first class in both.
    tie = kit.network(Constant([0.5, 0.5, 0.5]))
    assert measured(kit, tie, first, pixels_of(5))[1] == [[1] * 4, [1] * 4]


def test_images_on_one_line_span_no_plane():
    start, way = torch.full((3, 2, 2), 0.2), torch.rand(3, 2, 2)
    line = torch.stack([start, start + 0.3 * way, start + 0.7 * way])
    assert Plane.through(line) is None
    assert Plane.through(line[[0, 2, 1]]) is None
    assert Plane.through(torch.stack([start, start, way])) is None
    assert Plane.through(torch.stack([start, way, start])) is None
    assert Plane.through(torch.stack([way, start, start])) is None
    assert Plane.through(torch.stack([start] * 3)) is None
    # One step of one pixel off the line is a plane.
    line[2, 0, 0, 0] += 1 / 255
    assert Plane.through(line) is not None


def test_triplets_without_a_plane_do_not_count_and_are_told(kit):
    """Of four images, two are equal: triplets with both of them span no plane."""
    pixels = pixels_of(4)
    pixels[1] = pixels[0]
    net = kit.network(Wavy(0, classes=3))
    records, (agreement, iou) = measured(kit, net, net, pixels, triplets=12, pictured=99)
    without = records.notes["without_plane"]["domain=grey"]
    assert 0 < without < 12
    assert np.isnan(agreement).sum() == np.isnan(iou).sum() == without
    assert np.nanmean(agreement) == 1
    told = records.notes["planes"]
    assert len(told) == 12 - without
    assert not any({0, 1} <= set(about["corner_ids"]) for about in told.values())
    records, (agreement, _) = measured(kit, net, net, pixels[[0, 0, 0]], pictured=2)
    assert np.isnan(agreement).all()
    assert records.notes["planes"] == {}


def test_only_the_first_planes_are_kept_and_none_reaches_the_tables(kit):
    net = kit.network(Wavy(0, classes=3))
    records, _ = measured(kit, net, net, pixels_of(6), pictured=1)
    pictures = [s for s in records.statistics if s.metric in ("plane", "teacher_plane")]
    assert {s.condition for s in pictures} == {"domain=grey;triplet=0"}
    assert {(s.tables, s.target, s.primary) for s in pictures} == {("none", "none", False)}
    assert [s.metric for s in records.statistics if s.tables == "all"] == [
        "boundary_agreement",
        "boundary_iou",
    ]
    records, _ = measured(kit, net, net, pixels_of(6), pictured=0)
    assert records.notes["planes"] == records.notes["classes"] == {}
