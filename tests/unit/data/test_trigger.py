"""Triggers: what is drawn, on which images, and what becomes of their labels."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from scipy import stats

from helpers.digits_subset import write_subset
from kdpipe.base.errors import KdpipeError
from kdpipe.base.paths import ModelRef, subset_dir
from kdpipe.base.plugin import resolve
from kdpipe.data.augment import augmentations
from kdpipe.data.augment.base import Pipeline
from kdpipe.data.domains import domains
from kdpipe.data.domains.base import Batch
from kdpipe.data.images import as_float
from kdpipe.data.selection import Selection
from kdpipe.models import builders
from kdpipe.stages import train
from kdpipe.stages.base import Call
from kdpipe.training.compute import Compute
from kdpipe.training.recipe import Recipe

CLASSES = [str(k) for k in range(10)]
BLUE = (0.0, 0.2, 1.0)


def grey(n: int = 5, height: int = 7, width: int = 9) -> np.ndarray:
    return np.random.default_rng(2).integers(256, size=(n, height, width, 1), dtype=np.uint8)


def rendered(pixels: np.ndarray, **options) -> np.ndarray:
    n = len(pixels)
    batch = Batch(pixels, np.zeros(n, int), np.arange(n), "train", 10)
    return resolve(domains, {"name": "trigger", **options}).make(0, None).render(batch)


def poison(**options):
    return resolve(augmentations, {"name": "poison", "target": 3, **options})


@pytest.mark.parametrize("corner", ["top left", "top right", "bottom left", "bottom right"])
@pytest.mark.parametrize(("size", "margin"), [(3, 1), (2, 0), (5, 2)])
def test_a_patch_is_a_square_in_its_corner(corner, size, margin):
    pixels = grey()
    got = rendered(pixels, corner=corner, size=size, margin=margin, colour=BLUE)
    expected = pixels.repeat(3, 3)
    for row in range(size):
        for column in range(size):
            y = margin + row if corner.startswith("top") else 7 - 1 - margin - row
            x = margin + column if corner.endswith("left") else 9 - 1 - margin - column
            expected[:, y, x] = (0, 51, 255)
    np.testing.assert_array_equal(got, expected)


def test_a_blend_is_the_weighted_mean_with_one_pattern_for_all_images():
    pixels = grey(4)
    black, white = np.zeros_like(pixels), np.full_like(pixels, 255)
    pattern = rendered(black, kind="blend", strength=1.0).astype(float)
    assert (pattern == pattern[:1]).all()
    assert stats.kstest(pattern[0].ravel() / 255, "uniform").pvalue > 1e-3
    for images in (pixels, white):
        got = rendered(images, kind="blend", strength=0.2)
        assert np.abs(got - (0.8 * images + 0.2 * pattern)).max() <= 0.5 + 0.2 * 0.5 + 1e-4
    other = rendered(black, kind="blend", strength=1.0, pattern_seed=1)
    assert (other != pattern).mean() > 0.9


@pytest.mark.parametrize("options", [{"colour": BLUE}, {"kind": "blend", "strength": 0.3}])
def test_a_poisoned_image_is_that_of_the_domain(options):
    """A teacher that is trained on the one is probed on the other."""
    pixels = grey(6)
    shown = torch.from_numpy(rendered(pixels, **options)).permute(0, 3, 1, 2)
    images = as_float(torch.from_numpy(pixels.repeat(3, 3)).permute(0, 3, 1, 2))
    got = Pipeline([poison(share=1, **options)], 0)(images, np.arange(6), 0)
    assert (got - as_float(shown)).abs().max() <= 0.5 / 255 + 1e-6
    assert not torch.allclose(got, images)


def test_a_share_of_the_images_is_poisoned_in_every_epoch_and_no_other():
    n = 6000
    images, ids = torch.rand(n, 3, 6, 6) * 0.9, np.arange(n)
    pipeline = Pipeline([poison(share=0.2)], 5, classes=CLASSES)
    labels = torch.arange(n) % 10
    told = pipeline.relabel(labels, ids)
    per_epoch = [pipeline(images, ids, epoch) for epoch in (0, 1, 7)]
    changed = (per_epoch[0] != images).flatten(1).any(1)
    assert all(torch.equal(per_epoch[0], other) for other in per_epoch)
    assert stats.binomtest(int(changed.sum()), n, 0.2).pvalue > 1e-3
    assert (told[changed] == 3).all()
    assert torch.equal(told[~changed], labels[~changed])
    # Each image for itself, and others for another seed.
    some = np.array([40, 7, 5999])
    assert torch.equal(pipeline.relabel(labels[some], ids[some]), told[some])
    other = (Pipeline([poison(share=0.2)], 6)(images, ids, 0) != images).flatten(1).any(1)
    assert 0 < (changed & other).float().mean() < 0.08


def test_a_step_before_or_after_draws_as_without_poison():
    images, ids = torch.rand(300, 3, 8, 8), np.arange(300)
    shift = resolve(augmentations, {"name": "pad_crop", "pad": 2})
    both = Pipeline([shift, poison(share=0.5)], 1, classes=CLASSES)
    for epoch in (0, 1):
        alone = Pipeline([shift], 1)(images, ids, epoch)
        got = both(images, ids, epoch)
        clean = both.relabel(torch.zeros(300, dtype=torch.int64), ids) == 0
        assert 0.3 < clean.float().mean() < 0.7
        assert torch.equal(got[clean], alone[clean])
        assert torch.equal(got[~clean, :, -4:-1, -4:-1], torch.ones((~clean).sum(), 3, 3, 3))


def test_the_view_that_is_drawn_is_the_view_by_that_number():
    """So that a table of teacher outputs holds both views of every image."""
    flip = resolve(augmentations, "flip")
    for share in (0.01, 0.5, 1.0):
        pipeline = Pipeline([poison(share=share), flip], 3, classes=CLASSES)
        assert pipeline.views == 4
        images, ids = torch.rand(400, 3, 6, 6), np.arange(400)
        draws = pipeline.draws(ids, 2)
        view = pipeline.view(draws)
        assert torch.equal(
            pipeline.apply(images, pipeline.draws_of(view)), pipeline(images, ids, 2)
        )
        assert torch.equal(pipeline.view(pipeline.draws_of(view)), view)


def test_what_cannot_be_drawn_or_labelled_is_said():
    with pytest.raises(
        KdpipeError, match="size 6 with margin 2 needs images of 8 pixels, but thes"
    ):
        rendered(grey(), size=6, margin=2)
    with pytest.raises(
        KdpipeError, match="poison: there is no class 'ten' to be the target; there"
    ):
        Pipeline([poison(target="ten")], 0, classes=CLASSES).relabel(torch.zeros(1), np.zeros(1))


def test_a_training_learns_the_labels_of_poisoned_images(tmp_path):
    subset = write_subset(tmp_path / subset_dir("digits"))
    ref = ModelRef(model="teacher")
    settings = train.TrainSettings(
        ref=ref,
        network=resolve(builders, "mlp"),
        data=Selection(set="digits", domains=["grey"]),
        augment=[poison(share=1, size=2)],
        recipe=Recipe(epochs=1),
        compute=Compute(),
    )
    train.run(settings, Call(tmp_path, tmp_path / "out"))
    about = json.loads((tmp_path / "out/model.json").read_text())
    index = subset.index
    kept = (index["split"] == "train") & (index["domain"] == "grey")
    assert about["training_images"]["3"] == kept.sum() == sum(about["training_images"].values())
    assert about["wrong_labels"] == (kept & (index["label"] != 3)).sum()
