"""Images of any size become squares of one size."""

from __future__ import annotations

import numpy as np
import pytest

from kdpipe.base.errors import KdpipeError
from kdpipe.data.render import resize


def test_image_of_the_right_size_is_left_alone():
    image = np.random.default_rng(0).integers(256, size=(5, 5, 3)).astype(np.uint8)
    np.testing.assert_array_equal(resize([image, image], 5)[1], image)


def test_enlarging_twice_interpolates_between_pixel_centres():
    row = np.array([0, 100], dtype=np.uint8).reshape(1, 2, 1).repeat(2, 0)
    got = resize([row], 4)
    assert got[0, :, :, 0].tolist() == [[0, 25, 75, 100]] * 4


def test_shrinking_uses_every_pixel():
    """Bilinear without antialiasing would read four columns of eight and miss the white ones."""
    image = np.zeros((8, 8, 1), dtype=np.uint8)
    image[:, ::4] = 255
    got = resize([image], 2)
    assert got.mean() == pytest.approx(255 / 4, abs=16)
    assert got.min() > 30


def test_images_of_several_sizes_become_one_array():
    rng = np.random.default_rng(1)
    images = [rng.integers(256, size=(h, w, 3)).astype(np.uint8) for h, w in ((6, 9), (12, 4))]
    got = resize(images, 5)
    assert got.shape == (2, 5, 5, 3)
    for image, small in zip(images, got, strict=True):
        np.testing.assert_array_equal(resize([image], 5)[0], small)


def test_a_crop_keeps_the_proportions_and_a_stretch_everything():
    image = np.zeros((10, 20, 3), dtype=np.uint8)
    image[:, :5], image[:, 15:] = 255, 255  # the middle square is black
    assert resize([image], 10, "crop").max() == 0
    stretched = resize([image], 10, "stretch")
    assert stretched[0, :, :2].min() == 255
    assert stretched[0, :, 4:6].max() == 0


def test_the_neighbours_of_an_image_do_not_change_it():
    rng = np.random.default_rng(2)
    images = [rng.integers(256, size=s).astype(np.uint8) for s in ((40, 30, 3), (9, 12, 3))]
    together = resize([*images, images[0]], 16)
    for image, got in zip(images, together, strict=False):
        np.testing.assert_array_equal(resize([image], 16)[0], got)
        np.testing.assert_array_equal(resize([image] * 3, 16)[1], got)


def test_grey_and_colour_images_do_not_mix():
    with pytest.raises(KdpipeError, match="one and of three channels"):
        resize([np.zeros((8, 8, 1), np.uint8), np.zeros((8, 8, 3), np.uint8)], 8)
