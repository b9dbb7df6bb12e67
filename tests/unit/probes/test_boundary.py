"""Planes through three images, and how alike two networks label them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kdpipe.base.errors import KdpipeError
from kdpipe.probes.base import ProbeOptions
from kdpipe.probes.boundary import Boundary, BoundaryOptions, Plane, class_iou


def options(cls=ProbeOptions, **given_options):
    return cls(**{"set": "tiny", "domains": ["grey"], **given_options})


def plane(triplet, resolution, margin):
    """The images at the grid points of a plane, (resolution, resolution, d)."""
    through = Plane.through(triplet)
    points = torch.cat(list(through.images(through.grid(resolution, margin))))
    return points.reshape(resolution, resolution, -1).numpy()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 9), st.floats(0, 2))
def test_plane_passes_through_its_three_images(seed, resolution, margin):
    """The grid is affine; each image is the grid point at its own coordinates."""
    triplet = torch.from_numpy(np.random.default_rng(seed).random((3, 3, 4, 4))).double()
    grid = plane(triplet, resolution, margin).astype(float)
    corner = grid[0, 0]
    along_x, along_y = grid[-1, 0] - corner, grid[0, -1] - corner
    assert abs(along_x @ along_y) < 1e-6 * np.linalg.norm(along_x) * np.linalg.norm(along_y)
    places = []
    for image in triplet.flatten(1).numpy():
        x = (image - corner) @ along_x / (along_x @ along_x)
        y = (image - corner) @ along_y / (along_y @ along_y)
        np.testing.assert_allclose(corner + x * along_x + y * along_y, image, atol=1e-6)
        places.append((x, y))
    (x1, y1), (x2, y2), (x3, y3) = places
    # All three inside; the first two share a line, and the margin is as wide as asked for.
    assert min(min(p) for p in places) > -1e-6
    assert max(max(p) for p in places) < 1 + 1e-6
    assert y1 == pytest.approx(y2, abs=1e-6)
    assert y1 == pytest.approx(margin / (1 + 2 * margin), abs=1e-6)
    assert y3 == pytest.approx((1 + margin) / (1 + 2 * margin), abs=1e-6)
    assert min(x1, x2, x3) == pytest.approx(1 - max(x1, x2, x3), abs=1e-6)
    assert x2 > x1


def test_plane_of_a_right_angle_by_hand():
    """Images at coordinates (0, 0), (2, 0), (0, 1): with margin 1 every second grid line hits."""
    triplet = torch.zeros(3, 3, 1, 1)
    triplet[1, 0], triplet[2, 1] = 2, 1
    grid = plane(triplet, 4, 1.0)
    assert grid[1, 1].tolist() == [0, 0, 0]
    assert grid[2, 1].tolist() == [2, 0, 0]
    assert grid[1, 2].tolist() == [0, 1, 0]
    assert grid[0, 0].tolist() == [-2, -1, 0]
    assert grid[3, 3].tolist() == [4, 2, 0]


def test_class_iou_by_hand():
    one = np.array([0, 0, 0, 1, 1, 2])
    two = np.array([0, 0, 1, 1, 1, 1])
    # Class 0: 2 of 3, class 1: 2 of 4, class 2: 0 of 1.
    assert class_iou(one, two) == pytest.approx((2 / 3 + 2 / 4 + 0) / 3)
    assert class_iou(one, one) == 1
    assert class_iou(one, one + 5) == 0


class Brightest(torch.nn.Module):
    """Logits are the mean of each colour channel, times ``sign``."""

    def __init__(self, sign):
        super().__init__()
        self.sign = sign

    def forward(self, images):
        return self.sign * images.mean((2, 3))


def test_boundary_of_a_network_with_itself_and_with_its_opposite(kit):
    few = options(BoundaryOptions, triplets=4, resolution=5)
    same = kit.network(Brightest(1))
    pixels = kit.numbered(7)
    bench = kit.bench(pixels, [0] * 7, same, same)
    records = Boundary(few).measure(bench)
    assert kit.values(records, "boundary_agreement", unit="triplet").tolist() == [1] * 4
    assert kit.values(records, "boundary_iou", unit="triplet").tolist() == [1] * 4
    bench = kit.bench(pixels, [0] * 7, kit.network(Brightest(-1)), same)
    opposite = Boundary(few).measure(bench)
    assert kit.values(opposite, "boundary_agreement", unit="triplet").tolist() == [0] * 4


def test_boundary_needs_three_images(kit):
    same = kit.network(Brightest(1))
    bench = kit.bench(kit.numbered(2), [0, 1], same, same)
    with pytest.raises(KdpipeError, match="three"):
        Boundary(options(BoundaryOptions, triplets=1)).measure(bench)
