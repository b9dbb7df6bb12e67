"""Corruptions against their definitions, written out, and against torchvision and colorsys."""

from __future__ import annotations

import colorsys
import itertools

import numpy as np
import pytest
import torch
from torchvision.io import decode_jpeg, encode_jpeg

from kdpipe.base.errors import KdpipeError
from kdpipe.base.paths import ModelRef
from kdpipe.data.corruptions import CONSTANTS, CORRUPTIONS, SEVERITIES, corrupted, disk
from kdpipe.data.domains.base import Batch
from kdpipe.data.domains.corrupted import Corrupted, CorruptedOptions
from kdpipe.probes import corruptions as probe
from kdpipe.probes.corruptions import Corruptions, CorruptionsOptions

RNG = np.random.default_rng(0)
SMOOTH = np.linspace(0, 6, 32)
PHOTO = np.stack(
    [
        np.uint8(127 + 100 * np.sin(SMOOTH[:, None] * a + SMOOTH * b) + 20 * RNG.random((32, 32)))
        for a, b in ((1, 2), (2, 1), (3, 0.5))
    ],
    axis=2,
)[None]
ONE = np.array([7])
EVERY = [(k, s, c) for k in CORRUPTIONS for s in SEVERITIES for c in ("cifar", "imagenet")]


def blurred(image, kernel, mode):
    """Weighted means of the neighbourhoods, pixel by pixel."""
    half = len(kernel) // 2
    padded = np.pad(image, ((half, half), (half, half), (0, 0)), mode=mode)
    found = np.empty_like(image)
    for y, x in itertools.product(*map(range, image.shape[:2])):
        near = padded[y : y + len(kernel), x : x + len(kernel)]
        found[y, x] = (near * kernel[:, :, None]).sum((0, 1))
    return found


def bell(reach, deviation):
    weights = np.array([np.exp(-(k**2) / 2 / deviation**2) for k in range(-reach, reach + 1)])
    return np.outer(weights, weights) / weights.sum() ** 2


def defocused(image, constant):
    """OpenCV's Gaussian of 3 (5) pixels over a disk in a square of 17 (21)."""
    radius, deviation = constant
    half, reach = (8, 1) if radius <= 8 else (radius, 2)
    square = np.array(
        [[float(y * y + x * x <= radius**2) for x in range(-half, half + 1)]
         for y in range(-half, half + 1)]
    )  # fmt: skip
    smooth = blurred(square[:, :, None] / square.sum(), bell(reach, deviation), "reflect")[:, :, 0]
    return blurred(image, smooth, "reflect")


def brighter(image, added):
    found = np.empty_like(image)
    for y, x in itertools.product(*map(range, image.shape[:2])):
        h, s, v = colorsys.rgb_to_hsv(*image[y, x])
        found[y, x] = colorsys.hsv_to_rgb(h, s, min(1, v + added))
    return found


def small_and_back(image, share):
    """Plain means of the pixels whose middle is in an area, once to fewer pixels and once back."""

    def weights(large, few):
        scale = large / few
        middle = (np.arange(few)[:, None] + 0.5) * scale
        off = (np.arange(large) + 0.5 - middle) / max(scale, 1)
        inside = (off > -0.5) & (off <= 0.5)
        return inside / inside.sum(1, keepdims=True)

    n = image.shape[0]
    few = int(n * share)
    both = weights(few, n) @ weights(n, few)
    return np.einsum("ai,bj,ijc->abc", both, both, image)


def compressed(image, quality):
    given = torch.from_numpy(np.uint8(np.rint(255 * image))).permute(2, 0, 1)
    return decode_jpeg(encode_jpeg(given, quality)).permute(1, 2, 0).numpy() / 255


REFERENCES = {
    "defocus_blur": defocused,
    "gaussian_blur": lambda image, s: blurred(image, bell(int(4 * s + 0.5), s), "edge"),
    "brightness": brighter,
    "contrast": lambda image, c: c * image + (1 - c) * image.mean((0, 1)),
    "pixelate": small_and_back,
    "jpeg": compressed,
}


@pytest.mark.parametrize("kind", REFERENCES)
@pytest.mark.parametrize("scale", ["cifar", "imagenet"])
@pytest.mark.parametrize("severity", [1, 3, 5])
def test_within_one_grey_level_of_the_definition_in_the_mean(kind, scale, severity):
    ours = corrupted(PHOTO, ONE, kind, severity, scale)[0].astype(float)
    theirs = REFERENCES[kind](PHOTO[0] / 255, CONSTANTS[kind][scale][severity - 1])
    theirs = np.floor(255 * np.clip(theirs, 0, 1))
    assert np.abs(ours - theirs).mean() < 1
    if kind not in ("pixelate", "jpeg"):  # which are rounded on the way
        assert np.abs(ours - theirs).mean() < 0.05
        assert np.abs(ours - theirs).max() <= 1


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("scale", ["cifar", "imagenet"])
def test_noise_has_the_published_mean_and_spread(severity, scale):
    """On grey images, in units of the unclipped definition: a share is cut off in either."""
    grey = np.full((40, 32, 32, 3), 128, np.uint8)
    ids = np.arange(40)
    deviation = CONSTANTS["gaussian_noise"][scale][severity - 1]
    photons = CONSTANTS["shot_noise"][scale][severity - 1]
    level, rng = 128 / 255, np.random.default_rng(1)
    for kind, drawn in (
        ("gaussian_noise", level + deviation * rng.standard_normal(400_000)),
        ("shot_noise", rng.poisson(level * photons, 400_000) / photons),
    ):
        made = corrupted(grey, ids, kind, severity, scale) / 255
        expected = np.floor(255 * np.clip(drawn, 0, 1)) / 255
        assert made.mean() == pytest.approx(expected.mean(), abs=0.003)
        assert made.std() == pytest.approx(expected.std(), rel=0.02)


@pytest.mark.parametrize(("kind", "severity", "scale"), EVERY)
def test_what_becomes_of_an_image_depends_on_its_id_alone(kind, severity, scale):
    images = np.repeat(PHOTO[:, :16, :16], 3, axis=0)
    whole = corrupted(images, np.array([3, 1, 3]), kind, severity, scale)
    assert whole.dtype == np.uint8
    assert whole.shape == images.shape
    assert (whole[0] == whole[2]).all()
    assert (whole[0] != whole[1]).any() == ("noise" in kind)
    alone = corrupted(images[:1], np.array([1]), kind, severity, scale)
    assert (alone[0] == whole[1]).all()


def test_black_becomes_grey_and_white_stays_white():
    two = np.stack([np.zeros((4, 4, 3)), np.full((4, 4, 3), 255)]).astype(np.uint8)
    made = corrupted(two, np.arange(2), "brightness", 5, "imagenet")
    assert set(made[0].ravel()) == {127}
    assert set(made[1].ravel()) == {255}


@pytest.mark.parametrize("radius", [0.3, 1.5, 6])
def test_a_lens_neither_adds_nor_takes_light(radius):
    assert disk(radius, 0.5).sum() == pytest.approx(1, abs=1e-12)


def test_a_corrupted_domain():
    grey = np.repeat(PHOTO[..., :1], 2, axis=0)
    batch = Batch(grey, np.zeros(2, int), np.array([5, 6]), "test", 3)
    domain = Corrupted(CorruptedOptions(corruption="shot_noise"), seed=0, root=None)
    expected = corrupted(np.repeat(grey, 3, axis=3), np.array([5, 6]), "shot_noise", 3, "cifar")
    assert (domain.render(batch) == expected).all()


# The probe


@pytest.mark.parametrize("batch", [256, 3])
def test_accuracy_of_every_corruption_and_their_mean_by_hand(kit, monkeypatch, batch):
    """Where a corruption of severity s adds s to the number of an image."""
    monkeypatch.setattr(probe, "BATCH", batch)

    def moved(pixels, ids, kind, severity, scale):
        assert (kind, scale) in {("contrast", "imagenet"), ("jpeg", "imagenet")}
        assert (pixels[:, 0, 0, 0] == ids).all()
        made = pixels.copy()
        made[:, 0, 0, 0] += severity * (1 if kind == "jpeg" else 2)
        return made

    monkeypatch.setattr(probe, "corrupted", moved)
    answers = RNG.integers(0, 3, 20)
    labels = RNG.integers(0, 3, 8)
    bench = kit.bench(kit.numbered(8), labels, kit.decides(answers))
    options = CorruptionsOptions(
        set="set",
        domains=["grey"],
        corruptions=["contrast", "jpeg"],
        severities=[1, 4],
        constants="imagenet",
    )
    records = Corruptions(options).measure(bench)
    every = []
    for kind, step in (("contrast", 2), ("jpeg", 1)):
        for severity in (1, 4):
            right = [answers[i + step * severity] == labels[i] for i in range(8)]
            where = f"domain=grey;corruption={kind};severity={severity}"
            assert kit.values(records, "accuracy", where).tolist() == right
            every.append(right)
    mean = kit.values(records, "mean_accuracy", "domain=grey")
    assert mean == pytest.approx(np.mean(every, axis=0), abs=1e-12)
    clean = kit.values(records, "clean_accuracy", "domain=grey")
    assert clean.tolist() == (answers[:8] == labels).tolist()
    primary = [(s.condition, s.metric, s.target) for s in records.statistics if s.primary]
    assert primary == [("domain=grey", "mean_accuracy", "teacher")]


def test_the_published_seven_in_five_severities_by_default():
    options = CorruptionsOptions()
    assert options.corruptions == [k for k in CORRUPTIONS if k != "gaussian_blur"]
    assert Corruptions.passes(options, 10) == 360


def test_mce_and_relative_mce_by_hand(kit, monkeypatch):
    """Hendrycks & Dietterich 2019, Sec. 4.3, with another network in the place of AlexNet."""

    def moved(pixels, ids, kind, severity, scale):
        made = pixels.copy()
        made[:, 0, 0, 0] += severity * (1 if kind == "jpeg" else 2)
        return made

    monkeypatch.setattr(probe, "corrupted", moved)
    labels = RNG.integers(0, 3, 8)
    own, theirs = (np.concatenate([labels, RNG.integers(0, 3, 12)]) for _ in range(2))
    theirs[0] = own[1] = 3  # errors on clean images
    bench = kit.bench(kit.numbered(8), labels, kit.decides(own, 4))
    baseline = ModelRef(model="yardstick", seed=0)
    bench.others[baseline.path] = kit.decides(theirs, 4)
    options = CorruptionsOptions(
        set="set",
        domains=["grey"],
        corruptions=["contrast", "jpeg"],
        severities=[1, 4],
        baseline=baseline,
    )
    assert Corruptions.networks(options) == [baseline]
    records = Corruptions(options).measure(bench)
    ratios, relative = [], []
    for step in (2, 1):
        sums = []
        for answers in (own, theirs):
            clean = np.mean(answers[:8] != labels)
            wrong = [np.mean(answers[np.arange(8) + step * s] != labels) for s in (1, 4)]
            sums.append((sum(wrong), sum(w - clean for w in wrong)))
        ratios.append(sums[0][0] / sums[1][0])
        relative.append(sums[0][1] / sums[1][1])
    (mce,) = kit.values(records, "mce", "domain=grey", "image set")
    assert mce == pytest.approx(np.mean(ratios), abs=1e-12)
    (found,) = kit.values(records, "relative_mce", "domain=grey", "image set")
    assert found == pytest.approx(np.mean(relative), abs=1e-12)
    lost = kit.values(records, "accuracy_lost", "domain=grey")
    clean = kit.values(records, "clean_accuracy", "domain=grey")
    mean = kit.values(records, "mean_accuracy", "domain=grey")
    assert lost == pytest.approx(clean - mean, abs=1e-12)
    # A baseline without errors is no yardstick, and the mCE of the baseline itself is 1.
    bench.others[baseline.path] = kit.answers(np.eye(4)[[*own]])
    again = Corruptions(options).measure(bench)
    assert kit.values(again, "mce", "domain=grey", "image set") == pytest.approx([1])
    assert kit.values(again, "relative_mce", "domain=grey", "image set") == pytest.approx([1])


def stored(kit, order, **options):
    """Three photographs under two corruptions in two severities, in ``order`` in the set."""
    kinds = [("fog", 1), ("fog", 3), ("snow", 1), ("snow", 3)]
    cells = [(kind, s, photo) for kind, s in kinds for photo in range(3)]
    cells = [cells[k] for k in order]
    labels = [photo for _, _, photo in cells]
    answers = RNG.integers(0, 3, len(cells))
    groups = [f"{kind}-{s}" for kind, s, _ in cells]
    bench = kit.bench(kit.numbered(len(cells)), labels, kit.decides(answers), group=groups)
    refs = [f"{kind}/{s}/class/{photo}.png" for kind, s, photo in cells]
    bench.subset.index["source_ref"] = np.array(refs, dtype=object)
    made = CorruptionsOptions(set="set", domains=["grey"], stored=True, **options)
    right = {cell: answers[k] == labels[k] for k, cell in enumerate(cells)}
    return Corruptions(made).measure(bench), right


@pytest.mark.parametrize("seed", range(3))
def test_images_that_others_corrupted_are_compared_photograph_by_photograph(kit, seed):
    records, right = stored(kit, np.random.default_rng(seed).permutation(12))
    for kind, s in (("fog", 1), ("fog", 3), ("snow", 1), ("snow", 3)):
        where = f"domain=grey;corruption={kind};severity={s}"
        mine = kit.values(records, "accuracy", where)
        assert mine.tolist() == [right[kind, s, photo] for photo in range(3)]
    mean = kit.values(records, "mean_accuracy", "domain=grey")
    each = [[v for (_, _, p), v in right.items() if p == photo] for photo in range(3)]
    assert mean == pytest.approx([np.mean(values) for values in each], abs=1e-12)
    assert not {s.metric for s in records.statistics} & {"clean_accuracy", "accuracy_lost"}


def test_a_limit_counts_photographs(kit):
    records, _ = stored(kit, np.arange(12), limit=2)
    table = records.table().to_pandas()
    assert set(table.groupby(["condition", "metric"]).size()) == {2}
    assert table.unit_id.nunique() == 2


def test_images_that_lack_a_photograph_are_refused(kit):
    with pytest.raises(KdpipeError, match="not the photographs of the set under one corruption"):
        stored(kit, np.arange(11))
