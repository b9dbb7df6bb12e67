"""The crop probe's views against torchvision's resized_crop, image by image."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as reference
from torch import nn

from kdpipe.base.seeding import stream, uniforms
from kdpipe.probes.crop import Crop, CropOptions
from kdpipe.probes.shared import agreement as _agreement

# A coordinate of 224 pixels in single precision is off by up to 1e-5 of a pixel.
TOLERANCE = 1e-4


def probe(**given):
    return Crop(CropOptions(**{"set": "set", "domains": ["grey"], **given}))


def images_of(n, size, seed=0):
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(seed))


def draws(n, scale):
    return torch.from_numpy(uniforms(stream("view", "crop", scale), np.arange(n), 8))


def window(u, scale, ratio, size):
    """RandomResizedCrop's (top, left, height, width) with its random numbers given, in double."""
    low, high = map(math.log, ratio)
    aspect = math.exp(low + (high - low) * u[1])
    width = round(math.sqrt(scale * size * size * aspect))
    height = round(math.sqrt(scale * size * size / aspect))
    return int(u[2] * (size - height + 1)), int(u[3] * (size - width + 1)), height, width


@pytest.mark.parametrize("scale", [0.3, 0.4, 0.5, 0.6])
@pytest.mark.parametrize(("size", "n"), [(28, 60), (32, 60), (224, 4)])
def test_views_are_two_resized_crops_of_torchvision(scale, size, n):
    """With antialiasing, as torchvision does by default: a crop is only ever enlarged."""
    images, u = images_of(n, size), draws(n, scale)
    views = probe().views(images, u, scale)
    for view, part in zip(views, (u[:, :4], u[:, 4:]), strict=True):
        for image, row, ours in zip(images, part.tolist(), view, strict=True):
            box = window(row, scale, (3 / 4, 4 / 3), size)
            expected = reference.resized_crop(image, *box, [size, size], antialias=True)
            torch.testing.assert_close(ours, expected, rtol=0, atol=TOLERANCE)


def test_area_is_fixed_and_aspect_free():
    """The corners of a ramp give the window away: width and height in pixels of the image."""
    size, scale, n = 100, 0.4, 400
    ramp = torch.linspace(0.5, size - 0.5, size)
    images = torch.stack([*torch.meshgrid(ramp, ramp, indexing="ij"), torch.zeros(size, size)])
    views = probe().views(images.expand(n, 3, size, size), draws(n, scale), scale)
    for view in views:
        # Resized, the centres of the outermost pixels of a window stay at its corners.
        height, width = (view[:, k].amax((1, 2)) - view[:, k].amin((1, 2)) + 1 for k in (0, 1))
        area, aspect = height * width / size**2, width / height
        assert area.sub(scale).abs().max() < 0.01
        assert aspect.min() == pytest.approx(3 / 4, abs=0.02)
        assert aspect.max() == pytest.approx(4 / 3, abs=0.03)
        assert aspect.log().mean() == pytest.approx(0, abs=0.03)


def test_the_two_crops_are_drawn_independently():
    one, two = draws(2000, 0.4).split(4, 1)
    for k in range(1, 4):
        assert abs(np.corrcoef(one[:, k], two[:, k])[0, 1]) < 0.08


class Mean(nn.Module):
    def forward(self, images):
        red, green, blue = images.mean((2, 3)).unbind(1)
        return torch.stack([red - green, green - blue, blue - red], 1)


def test_records_do_not_depend_on_the_batch_and_a_limit_changes_no_image(kit, monkeypatch):
    pixels = (images_of(40, 12).permute(0, 2, 3, 1) * 255).byte().numpy()
    bench = kit.bench(pixels, [0, 1] * 20, kit.network(Mean()))
    whole = probe(scales=[0.3]).measure(bench)
    monkeypatch.setattr(_agreement, "BATCH", 9)
    parts = probe(scales=[0.3]).measure(bench)
    assert parts.table().to_pandas().equals(whole.table().to_pandas())
    assert parts.notes == whole.notes
    kit.check_limited(whole, probe(scales=[0.3], limit=15).measure(bench), 15)


def test_a_single_image_and_no_tensor_on_another_device(kit):
    images, u = images_of(1, 28), draws(1, 0.4)
    expected = probe().views(images, u, 0.4)
    with torch.device("meta"):
        views = probe().views(images, u, 0.4)
    assert all(torch.equal(a, b) for a, b in zip(views, expected, strict=True))
    assert not torch.equal(*views)


def test_defaults_are_those_of_the_paper():
    o = CropOptions()
    assert sorted(o.scales) == [0.3, 0.4, 0.5, 0.6]
    assert (o.scales[0], o.ratio) == (0.4, (3 / 4, 4 / 3))
