"""Domains: the pixels and cues of each, and the photographs of photo_blend."""

from __future__ import annotations

import colorsys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from helpers.digits_subset import DOMAINS
from kdpipe.base.errors import KdpipeError
from kdpipe.data.domains import domains, photo_blend
from kdpipe.data.domains.base import Batch, on_background
from kdpipe.stages import subset as stage


def batch_of(n: int, split: str = "train", n_classes: int = 10, seed: int = 0) -> Batch:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(256, size=(n, 6, 6, 1)).astype(np.uint8)
    return Batch(pixels, rng.integers(n_classes, size=n), np.arange(n), split, n_classes)


def domain(name: str, seed: int = 3):
    cls = domains.get(name)
    return cls(cls.Options(), seed, None)


def render(name: str, batch: Batch, seed: int = 3) -> np.ndarray:
    return domain(name, seed).render(batch)


def test_grey_level_is_the_opacity_of_a_white_stroke():
    pixels = np.array([0, 51, 255], dtype=np.uint8).reshape(1, 1, 3, 1)
    colour = np.array([[0.2, 0.6, 1.0]], dtype=np.float32)
    got = on_background(pixels, colour)
    # Opacity 0.2 over 0.2, 0.6 and 1: 0.36, 0.68 and 1 of 255.
    assert got[0, 0].tolist() == [[51, 153, 255], [92, 173, 255], [255, 255, 255]]
    assert got.dtype == np.uint8


def test_original_repeats_the_grey_channel():
    batch = batch_of(3)
    got = render("original", batch)
    assert got.shape == (3, 6, 6, 3)
    assert all(np.array_equal(got[..., c], batch.pixels[..., 0]) for c in range(3))


def test_random_background_has_one_colour_an_image_uniform_in_the_cube():
    n = 2000
    empty = Batch(np.zeros((n, 2, 2, 1), np.uint8), np.zeros(n, int), np.arange(n), "train", 10)
    got = render("random_background", empty)
    assert (got == got[:, :1, :1]).all()
    colours = got[:, 0, 0].astype(float)
    # Five standard errors of the mean and of the deviation of a uniform variable.
    assert np.abs(colours.mean(0) - 127.5).max() < 5 * 255 / np.sqrt(12 * n)
    assert np.abs(colours.std(0) - 255 / np.sqrt(12)).max() < 5 * 50 / np.sqrt(n)
    assert np.abs(np.corrcoef(colours.T) - np.eye(3)).max() < 5 / np.sqrt(n)


@pytest.mark.parametrize("name", list(DOMAINS.values()))
def test_a_domain_version_depends_on_the_image_and_not_on_its_neighbours(name):
    batch = batch_of(8)
    together = render(name, batch)
    some_of = np.array([5, 2])
    part = Batch(batch.pixels[some_of], batch.labels[some_of], batch.ids[some_of], "train", 10)
    alone = render(name, part)
    np.testing.assert_array_equal(alone, together[some_of])
    # Cues are asked for before there are pixels.
    few = [np.empty(0), part.labels, part.ids, "train", 10]
    cues, all_cues = domain(name).cues(Batch(*few)), domain(name).cues(batch)
    if cues is not None:
        np.testing.assert_array_equal(cues, all_cues[some_of])


@given(n_classes=some.integers(2, 12), seed=some.integers(0, 500))
@settings(max_examples=25, deadline=None)
def test_cue_is_the_label_or_never_the_label(n_classes, seed):
    batch = batch_of(60, n_classes=n_classes, seed=seed)
    agree = domain("class_background", seed).cues(batch)
    conflict = domain("conflict_background", seed).cues(batch)
    np.testing.assert_array_equal(agree, batch.labels)
    assert (conflict != batch.labels).all()
    assert set(conflict) <= set(range(n_classes))


def test_conflicting_cues_are_spread_over_all_other_classes():
    n = 9000
    batch = Batch(np.zeros((n, 1, 1, 1), np.uint8), np.full(n, 4), np.arange(n), "train", 10)
    counts = np.bincount(domain("conflict_background").cues(batch), minlength=10)
    assert counts[4] == 0
    # Expected 1000 a class; five standard deviations of a binomial.
    assert np.abs(np.delete(counts, 4) - 1000).max() < 5 * np.sqrt(1000)


@pytest.mark.parametrize("name", ["class_background", "conflict_background"])
def test_background_hue_is_nearest_to_that_of_the_cue(name):
    batch = Batch(
        np.zeros((200, 1, 1, 1), np.uint8), np.arange(200) % 10, np.arange(200), "val", 10
    )
    got = render(name, batch)
    hues = np.array([colorsys.rgb_to_hsv(*(p / 255))[0] for p in got[:, 0, 0]])
    np.testing.assert_array_equal(np.round(hues * 10).astype(int) % 10, domain(name).cues(batch))


def test_photo_blend_is_the_absolute_difference_of_digit_and_patch():
    batch = batch_of(4)
    black = Batch(np.zeros_like(batch.pixels), batch.labels, batch.ids, "train", 10)
    patches = render("photo_blend", black).astype(int)
    got = render("photo_blend", batch)
    np.testing.assert_array_equal(got, np.abs(batch.pixels.astype(int) - patches))


def column_photographs(widths) -> list[np.ndarray]:
    """Photographs whose every pixel says which photograph (red) and column (green) it is from."""
    photos = []
    for number, width in enumerate(widths):
        photo = np.zeros((9, width, 3), dtype=np.uint8)
        photo[..., 0] = number
        photo[..., 1] = np.arange(width)
        photo[..., 2] = np.arange(9)[:, None]
        photos.append(photo)
    return photos


@pytest.mark.parametrize("widths", [(160, 87), (53,), (255,)])
def test_splits_take_their_patches_from_disjoint_columns_of_the_photographs(monkeypatch, widths):
    monkeypatch.setattr(photo_blend.PhotoBlend, "_shared", column_photographs(widths))
    n = 3000
    seen = {}
    for split in stage.SPLITS:
        black = Batch(np.zeros((n, 6, 6, 1), np.uint8), np.zeros(n, int), np.arange(n), split, 10)
        pixels = render("photo_blend", black)
        seen[split] = set(map(tuple, pixels[..., :2].reshape(-1, 2).tolist()))
        assert set(np.unique(pixels[..., 2])) == set(range(9))
        # A patch is one piece of one photograph.
        assert (np.diff(pixels[..., 1].astype(int), axis=2) == 1).all()
        assert (pixels[..., 0] == pixels[:, :1, :1, 0]).all()
    assert not seen["train"] & seen["val"]
    assert not seen["train"] & seen["test"]
    assert not seen["val"] & seen["test"]
    # Hardly a column is wasted at the two borders.
    assert len(set.union(*seen.values())) >= sum(widths) - 2 * len(widths)


def test_photograph_too_small_for_a_patch_is_named(monkeypatch):
    monkeypatch.setattr(photo_blend.PhotoBlend, "_shared", column_photographs([20]))
    with pytest.raises(
        KdpipeError, match="20×9 pixels is too small to cut 6×6 patches for the val"
    ):
        render("photo_blend", batch_of(2, "val"))


def test_folder_without_photographs_is_named(tmp_path):
    cls = photo_blend.PhotoBlend
    domain = cls(cls.Options(photographs="none"), 0, tmp_path)
    with pytest.raises(KdpipeError, match=r"none does not exist; expected are files NAME\.jpg"):
        domain.render(batch_of(1))


def one_colour(folder: Path, names: list[str], values: list[int]) -> None:
    """Photographs that say by their grey value which one they are."""
    from PIL import Image

    for name, value in zip(names, values, strict=True):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((20, 30, 3), value, dtype=np.uint8)).save(path)


def backgrounds(root: Path, split: str) -> set[int]:
    """Grey values of the photographs that black images of a split are blended with."""
    cls = photo_blend.PhotoBlend
    made = cls(cls.Options(photographs="photos"), 3, root)
    n = 400
    black = Batch(np.zeros((n, 6, 6, 1), np.uint8), np.zeros(n, int), np.arange(n), split, 10)
    return set(np.unique(made.render(black)).tolist())


def test_a_photograph_of_a_folder_belongs_to_one_split(tmp_path):
    names = [f"{i}.png" for i in range(20)]
    one_colour(tmp_path / "photos", names, list(range(10, 210, 10)))
    seen = {split: backgrounds(tmp_path, split) for split in stage.SPLITS}
    assert {split: len(found) for split, found in seen.items()} == {
        "train": 12,
        "val": 3,
        "test": 5,
    }
    assert set.union(*seen.values()) == set(range(10, 210, 10))


def test_photographs_keep_the_split_of_their_folders(tmp_path):
    names = ["train/a.png", "train/b.png", "val/c.png", "test/d.png"]
    one_colour(tmp_path / "photos", names, [10, 20, 30, 40])
    assert backgrounds(tmp_path, "train") == {10, 20}
    assert backgrounds(tmp_path, "val") == {30}
    assert backgrounds(tmp_path, "test") == {40}


def test_too_few_photographs_for_every_split_are_refused(tmp_path):
    one_colour(tmp_path / "photos", ["a.png", "b.png"], [1, 2])
    with pytest.raises(KdpipeError, match="no photograph for the test split among the 2 in"):
        backgrounds(tmp_path, "test")
