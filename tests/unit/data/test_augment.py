"""Batched augmentations against torchvision's functions, one image at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torchvision.transforms.functional as reference
from hypothesis import given, settings
from hypothesis import strategies as some
from scipy import stats
from torch.nn.functional import pad

from kdpipe.base.plugin import resolve
from kdpipe.data.augment import augmentations
from kdpipe.data.augment.base import Pipeline
from kdpipe.data.augment.shared import colour
from kdpipe.data.augment.shared.geometry import random_window, resample, windows

# Sums of three products in single precision, and a division by the chroma for the hue.
COLOUR_TOLERANCE = 2e-6
HUE_TOLERANCE = 2e-5


def some_images(n: int = 6, size: int = 9, seed: int = 0) -> torch.Tensor:
    """Random colours, and in the first image what is special: grey, black, white, equal pairs."""
    images = torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(seed))
    images[0, :, 0, :] = 0.4
    images[0, :, 1, :] = 0.0
    images[0, :, 2, :] = 1.0
    images[0, 0, 3, :] = images[0, 1, 3, :] = 0.9
    images[0, 1, 4, :] = images[0, 2, 4, :] = 0.05
    return images


def make(name: str, **options):
    cls = augmentations.get(name)
    return cls(cls.Options(**options))


# Colour


@pytest.mark.parametrize(
    ("adjust", "per_image", "factors", "tolerance"),
    [
        (colour.brightness, reference.adjust_brightness, (0, 2), COLOUR_TOLERANCE),
        (colour.contrast, reference.adjust_contrast, (0, 2), COLOUR_TOLERANCE),
        (colour.saturation, reference.adjust_saturation, (0, 2), COLOUR_TOLERANCE),
        (colour.hue, reference.adjust_hue, (-0.5, 0.5), HUE_TOLERANCE),
    ],
)
@pytest.mark.parametrize("seed", range(4))
def test_colour_adjustments_are_those_of_torchvision(adjust, per_image, factors, tolerance, seed):
    images = some_images(seed=seed)
    values = torch.linspace(*factors, len(images))
    got = adjust(images, values)
    want = torch.stack([per_image(x, v.item()) for x, v in zip(images, values, strict=True)])
    torch.testing.assert_close(got, want, rtol=0, atol=tolerance)
    assert got.min() >= 0
    assert got.max() <= 1


def test_neutral_factors_change_nothing():
    images = some_images()
    one, zero = torch.ones(len(images)), torch.zeros(len(images))
    for adjust, neutral in (
        (colour.brightness, one),
        (colour.contrast, one),
        (colour.saturation, one),
        (colour.hue, zero),
    ):
        torch.testing.assert_close(adjust(images, neutral), images, rtol=0, atol=HUE_TOLERANCE)


def test_jitter_draws_from_the_ranges_of_torchvision_in_a_fixed_order():
    images = some_images(4)
    u = torch.tensor([[0.0, 0.25, 0.5, 1.0]] * 4)
    got = make("color_jitter", brightness=0.4, contrast=0.4, saturation=1.5, hue=0.2)(images, u)
    want = []
    for image in images:
        image = reference.adjust_brightness(image, 0.6)
        image = reference.adjust_contrast(image, 0.8)
        # From 0, never below, to 2.5.
        image = reference.adjust_saturation(image, 1.25)
        want.append(reference.adjust_hue(image, 0.2))
    torch.testing.assert_close(got, torch.stack(want), rtol=0, atol=HUE_TOLERANCE)


def test_jitter_of_strength_zero_is_the_identity():
    images = some_images()
    nothing = make("color_jitter", brightness=0, contrast=0, saturation=0, hue=0)
    assert torch.equal(nothing(images, torch.rand(len(images), 4)), images)


# Geometry


def window_tensors(size, boxes):
    return (torch.tensor([b[k] / size for b in boxes], dtype=torch.float64) for k in range(4))


def test_full_window_is_the_identity():
    images = some_images()
    n = len(images)
    got = resample(images, torch.zeros(n), torch.zeros(n), torch.ones(n), torch.ones(n))
    torch.testing.assert_close(got, images, rtol=0, atol=1e-5)


@given(data=some.data(), size=some.integers(5, 28))
@settings(max_examples=40, deadline=None)
def test_resampled_windows_are_the_resized_crops_of_torchvision(data, size):
    """Border pixels included: a crop must not see what lies just outside of it."""
    boxes = []
    for _ in range(3):
        height, width = data.draw(some.integers(1, size)), data.draw(some.integers(1, size))
        top = data.draw(some.integers(0, size - height))
        left = data.draw(some.integers(0, size - width))
        boxes.append((top, left, height, width))
    images = some_images(3, size)
    got = resample(images, *window_tensors(size, boxes))
    want = torch.stack(
        [
            reference.resized_crop(image, *box, [size, size], antialias=False)
            for image, box in zip(images, boxes, strict=True)
        ]
    )
    torch.testing.assert_close(got, want, rtol=0, atol=2e-5)


@given(
    u=some.lists(
        some.lists(some.floats(0, 1, exclude_max=True, width=32), min_size=4, max_size=4),
        min_size=1,
        max_size=5,
    ),
    scale=some.tuples(some.floats(0.05, 1), some.floats(0.05, 1)).map(sorted),
)
@settings(max_examples=80, deadline=None)
def test_random_windows_are_whole_pixels_inside_the_image(u, scale):
    shape = (28, 20)
    top, left, height, width = random_window(torch.tensor(u), tuple(scale), (3 / 4, 4 / 3), shape)
    for start, extent, side in ((top, height, 28), (left, width, 20)):
        pixels = torch.stack([start * side, extent * side])
        torch.testing.assert_close(pixels, pixels.round(), rtol=0, atol=1e-4)
        assert (start >= 0).all()
        assert (extent * side >= 1 - 1e-4).all()
        assert (start + extent <= 1 + 1e-6).all()


def test_random_windows_have_uniform_area_and_log_uniform_aspect():
    torch.manual_seed(0)
    # Large enough for rounding to whole pixels not to matter, small enough never to be cut.
    u = torch.rand(5000, 4, dtype=torch.float64)
    _, _, height, width = random_window(u, (0.1, 0.5), (3 / 4, 4 / 3), (4000, 4000))
    area = stats.kstest((height * width).numpy(), "uniform", (0.1, 0.4))
    span = np.log(4 / 3)
    aspect = stats.kstest(np.log((width / height).numpy()), "uniform", (-span, 2 * span))
    assert area.pvalue > 1e-4
    assert aspect.pvalue > 1e-4


def test_random_window_reaches_every_place():
    torch.manual_seed(0)
    top, left, height, width = random_window(torch.rand(3000, 4), (0.2, 0.3), (1, 1), (8, 8))
    assert set((top * 8).round().long().tolist()) == set(range(5))
    assert set((left * 8).round().long().tolist()) == set(range(5))
    assert set((height * 8).round().long().tolist()) == {4}
    assert torch.equal(height, width)


def test_resized_crop_resamples_its_random_windows():
    images = some_images()
    u = torch.rand(len(images), 4, generator=torch.Generator().manual_seed(1))
    box = random_window(u, (0.2, 0.6), (0.5, 2.0), (9, 9))
    got = make("resized_crop", scale=(0.2, 0.6), ratio=(0.5, 2.0))(images, u)
    assert torch.equal(got, resample(images, *box))
    assert not torch.allclose(got, images)


def test_windows_are_slices():
    images = some_images(5, 12)
    top, left = torch.tensor([0, 3, 7, 1, 2]), torch.tensor([5, 0, 2, 7, 6])
    got = windows(images, top, left, (5, 4))
    for k in range(5):
        assert torch.equal(got[k], images[k, :, top[k] : top[k] + 5, left[k] : left[k] + 4])


def test_pad_crop_shifts_by_whole_pixels_and_fills_with_black():
    images = some_images(5, 8)
    draws = torch.tensor([[0.0, 0.0], [0.5, 0.5], [0.999999, 0.0], [0.3, 0.7], [0.71, 0.999999]])
    got = make("pad_crop", pad=2)(images, draws)
    padded = pad(images, (2, 2, 2, 2))
    # Five offsets, each with a fifth of the draws; the one in the middle is the image itself.
    offsets = [(0, 0), (2, 2), (4, 0), (1, 3), (3, 4)]
    for k, (top, left) in enumerate(offsets):
        assert torch.equal(got[k], padded[k, :, top : top + 8, left : left + 8])
    assert torch.equal(got[1], images[1])
    assert got[0, :, :2].abs().sum() == 0


def test_flip_mirrors_left_and_right_below_one_half():
    images = some_images(3)
    got = make("flip")(images, torch.tensor([[0.1], [0.5], [0.4999]]))
    assert torch.equal(got[0], images[0].flip(2))
    assert torch.equal(got[1], images[1])
    assert torch.equal(got[2], images[2].flip(2))


# Pipeline

EVERYTHING = [
    resolve(augmentations, "flip"),
    resolve(augmentations, {"name": "pad_crop", "pad": 3}),
    resolve(augmentations, "resized_crop"),
    resolve(augmentations, "color_jitter"),
]


@pytest.mark.parametrize("ref", EVERYTHING, ids=lambda ref: ref.name)
def test_augmentation_keeps_shape_type_and_range(ref):
    images = some_images(20, 12)
    got = Pipeline([ref], seed=0)(images, np.arange(20), 0)
    assert got.shape == images.shape
    assert got.dtype == torch.float32
    assert got.min() >= 0
    assert got.max() <= 1
    assert not torch.equal(got, images)


def test_image_in_an_epoch_does_not_depend_on_its_batch():
    images, ids = some_images(10, 12), np.array([4, 900, 17, 3, 55, 6, 700, 81, 9, 1])
    pipeline = Pipeline(EVERYTHING, seed=7)
    together = pipeline(images, ids, 2)
    order = np.array([6, 1, 8])
    part = pipeline(images[order], ids[order], 2)
    # Single-precision sums over a batch may be ordered otherwise, the random numbers may not.
    torch.testing.assert_close(part, together[order], rtol=0, atol=1e-6)
    for k in range(10):
        alone = pipeline(images[k : k + 1], ids[k : k + 1], 2)
        torch.testing.assert_close(alone[0], together[k], rtol=0, atol=1e-6)


def test_epoch_seed_and_image_each_change_the_augmentation():
    image = some_images(2, 12)[1:]
    base = Pipeline(EVERYTHING, seed=7)(image, np.array([5]), 0)
    assert torch.equal(base, Pipeline(EVERYTHING, seed=7)(image, np.array([5]), 0))
    for seed, number, epoch in ((8, 5, 0), (7, 6, 0), (7, 5, 1)):
        other = Pipeline(EVERYTHING, seed=seed)(image, np.array([number]), epoch)
        assert not torch.allclose(base, other, atol=1e-3)


def test_same_augmentation_twice_in_a_row_draws_twice():
    """With one stream for both, two shifts by −3 … 3 would always add up to an even number."""
    images = torch.zeros(200, 3, 15, 15)
    images[:, :, 7, 7] = 1
    shift = resolve(augmentations, {"name": "pad_crop", "pad": 3})
    moved = Pipeline([shift, shift], seed=0)(images, np.arange(200), 0)
    rows = moved[:, 0].sum(2).argmax(1) - 7
    assert (rows % 2 == 1).any()


def test_no_augmentation_is_the_identity():
    images = some_images()
    assert Pipeline([], seed=0)(images, np.arange(len(images)), 3) is images


# Views that can be counted

COUNTED = [resolve(augmentations, {"name": "pad_crop", "pad": 1}), resolve(augmentations, "flip")]


def test_views_of_augmentations_that_can_be_counted():
    assert Pipeline([], 0).views == 1
    assert Pipeline(COUNTED, 0).views == 9 * 2
    assert Pipeline([resolve(augmentations, {"name": "pad_crop", "pad": 4})], 0).views == 81
    assert Pipeline([*COUNTED, resolve(augmentations, "color_jitter")], 0).views is None


@pytest.mark.parametrize("refs", [COUNTED, COUNTED[::-1], COUNTED[:1], COUNTED[1:]])
def test_the_view_that_is_drawn_is_the_view_by_that_number(refs):
    """Bit for bit, for every image of some epochs; and every view is drawn."""
    pipeline, images, ids = Pipeline(refs, seed=3), some_images(200, 8), np.arange(200)
    seen = set()
    for epoch in range(3):
        draws = pipeline.draws(ids, epoch)
        view = pipeline.view(draws)
        assert torch.equal(pipeline.view(pipeline.draws_of(view)), view)
        got = pipeline.apply(images, pipeline.draws_of(view))
        assert torch.equal(got, pipeline(images, ids, epoch))
        seen |= set(view.tolist())
    assert seen == set(range(pipeline.views))
