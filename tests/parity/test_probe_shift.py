"""The shift probe's views against torchvision's resize, centre crop and crop."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as reference
from scipy import stats
from torch import nn

from kdpipe.base.seeding import stream, uniforms
from kdpipe.probes.shared import agreement as _agreement
from kdpipe.probes.shift import Shift, ShiftOptions

TOLERANCE = 1e-5


def probe(**given):
    return Shift(ShiftOptions(**{"set": "set", "domains": ["grey"], **given}))


def images_of(n, h, w=None, seed=0):
    return torch.rand(n, 3, h, w or h, generator=torch.Generator().manual_seed(seed))


def draws(n, shift=16):
    return torch.from_numpy(uniforms(stream("view", "shift", shift), np.arange(n), 2))


def places(m):
    """Numbers that stand for the middle of the range of each of the (m + 1)² windows."""
    count = (m + 1) ** 2
    return (np.arange(count) + 0.5) / count


@pytest.mark.parametrize("shift", [8, 16, 24, 32])
def test_at_224_pixels_it_is_the_procedure_of_the_paper(shift):
    """Resize 256, centre-crop 224 + m, two random crops of 224."""
    images, u = images_of(3, 224), draws(3, shift)
    views = probe().views(images, u, shift)
    large = reference.resize(images, [256, 256], antialias=True)
    centre = reference.center_crop(large, [224 + shift, 224 + shift])
    for k, view in enumerate(views):
        for i, ours in enumerate(view):
            place = int(float(u[i, k]) * (shift + 1) ** 2)
            top, left = divmod(place, shift + 1)
            expected = reference.crop(centre[i], top, left, 224, 224)
            torch.testing.assert_close(ours, expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(("h", "w"), [(28, 28), (32, 32), (96, 96), (28, 20)])
@pytest.mark.parametrize("shift", [8, 16, 24, 32])
def test_other_sizes_scale_the_procedure(h, w, shift):
    """256/224 of the size, or more where the largest shift needs the room."""
    m = max(1, round(shift * h / 224))
    u = np.stack([places(m), places(m)[::-1]], 1)
    images = images_of(len(u), h, w)
    views = probe().views(images, torch.from_numpy(u), shift)
    large = [max(round(side * 256 / 224), side + m) for side in (h, w)]
    enlarged = reference.resize(images, large, antialias=True)
    centre = reference.center_crop(enlarged, [h + m, w + m])
    for k, view in enumerate(views):
        for i, ours in enumerate(view):
            place = i if k == 0 else len(u) - 1 - i
            top, left = divmod(place, m + 1)
            expected = reference.crop(centre[i], top, left, h, w)
            torch.testing.assert_close(ours, expected, rtol=0, atol=TOLERANCE)


def found_places(view, m):
    """Number of the window that each view shows, from a ramp down and one to the right."""
    corners = view[:, :2, 0, 0]
    top, left = (corners - corners.amin(0)).round().long().unbind(1)
    return top * (m + 1) + left


@pytest.mark.parametrize("distinct", [False, True])
def test_each_of_the_windows_is_as_likely_and_the_pair_independent(distinct):
    """Tested on both windows and on the pair; with ``distinct`` all but equal pairs."""
    n, size, m = 4000, 28, 2
    ramp = torch.arange(float(size))
    image = torch.stack([*torch.meshgrid(ramp, ramp, indexing="ij"), torch.zeros(size, size)])
    # Enlarged by 8/7, neighbouring windows differ by 7/8 in both ramps.
    views = probe(distinct=distinct).views((image * 8 / 7).expand(n, 3, size, size), draws(n), 16)
    table = np.zeros((9, 9))
    np.add.at(table, tuple(found_places(view, m).numpy() for view in views), 1)
    assert stats.chisquare(table.sum(1)).pvalue > 1e-4
    assert stats.chisquare(table.sum(0)).pvalue > 1e-4
    if distinct:
        assert table.trace() == 0
        assert stats.chisquare(table[~np.eye(9, dtype=bool)]).pvalue > 1e-4
    else:
        assert stats.chisquare(table.ravel()).pvalue > 1e-4


class Corner(nn.Module):
    """Decides by the first pixel, so that a shift by one pixel may change its mind."""

    def forward(self, images):
        return images[:, :, 0, 0]


def test_records_do_not_depend_on_the_batch_and_a_limit_changes_no_image(kit, monkeypatch):
    pixels = (images_of(40, 28).permute(0, 2, 3, 1) * 255).byte().numpy()
    bench = kit.bench(pixels, [0, 1] * 20, kit.network(Corner()))
    whole = probe(shifts=[32], distinct=True).measure(bench)
    monkeypatch.setattr(_agreement, "BATCH", 9)
    parts = probe(shifts=[32], distinct=True).measure(bench)
    assert parts.table().to_pandas().equals(whole.table().to_pandas())
    assert parts.notes == whole.notes
    kit.check_limited(whole, probe(shifts=[32], distinct=True, limit=15).measure(bench), 15)


def test_equal_pairs_are_counted(kit):
    """Drawn as in the paper at 96 pixels and m = 14: one pair in 225 would be equal."""
    pixels = (images_of(60, 96).permute(0, 2, 3, 1) * 255).byte().numpy()
    labels = [0, 1] * 30
    records = probe(shifts=[32]).measure(kit.bench(pixels, labels, kit.network(Corner())))
    u = (draws(60, 32) * 225).long()
    expected = float((u[:, 0] == u[:, 1]).double().mean())
    shown = kit.values(records, "unchanged_pairs", "domain=grey;shift=32", "image set")
    assert shown.tolist() == [expected]
    distinct = probe(shifts=[32], distinct=True)
    records = distinct.measure(kit.bench(pixels, labels, kit.network(Corner())))
    assert kit.values(records, "unchanged_pairs", unit="image set").tolist() == [0]


def test_a_single_image_and_no_tensor_on_another_device():
    images, u = images_of(1, 28), torch.tensor([[0.1, 0.9]])
    expected = probe().views(images, u, 32)
    with torch.device("meta"):
        views = probe().views(images, u, 32)
    assert all(torch.equal(a, b) for a, b in zip(views, expected, strict=True))


def test_defaults_are_those_of_the_paper():
    o = ShiftOptions()
    assert sorted(o.shifts) == [8, 16, 24, 32]
    assert o.distinct is False
