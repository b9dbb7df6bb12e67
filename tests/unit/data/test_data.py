"""Domains, splits, selections and the subset stage."""

from __future__ import annotations

import colorsys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from kdpipe.base.errors import KdpipeError
from kdpipe.base.plugin import PluginRef
from kdpipe.data.domains import domains, photo_blend
from kdpipe.data.domains.base import Batch, on_background
from kdpipe.data.render import resize
from kdpipe.data.selection import Selection, select
from kdpipe.data.sources import sources
from kdpipe.data.sources.base import Listing
from kdpipe.data.split import SplitFractions
from kdpipe.data.store import Subset
from kdpipe.stages import subset as stage
from kdpipe.stages.base import Call
from kdpipe.stages.subset import SubsetSlice, assign_splits, merge_classes

DOMAINS = {
    "grey": "original",
    "colour": "random_background",
    "photo": "photo_blend",
    "cue": "class_background",
    "conflict": "conflict_background",
}


def slice_of(**changes) -> SubsetSlice:
    values = {
        "name": "digits",
        "source": PluginRef(name="digits"),
        "size": 12,
        "split": SplitFractions(),
        "seed": 0,
        "classes": None,
        "per_class": 20,
        "domains": {name: PluginRef(name=domain) for name, domain in DOMAINS.items()},
    }
    return SubsetSlice(**{**values, **changes})


@pytest.fixture(scope="module")
def subset(tmp_path_factory) -> Subset:
    out = tmp_path_factory.mktemp("subset")
    stage.run(slice_of(), Call(out, out))
    return Subset(out)


def batch_of(n: int, split: str = "train", n_classes: int = 10, seed: int = 0) -> Batch:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(256, size=(n, 6, 6, 1)).astype(np.uint8)
    return Batch(pixels, rng.integers(n_classes, size=n), np.arange(n), split, n_classes)


def domain(name: str, seed: int = 3):
    cls = domains.get(name)
    return cls(cls.Options(), seed, None)


def render(name: str, batch: Batch, seed: int = 3) -> np.ndarray:
    return domain(name, seed).render(batch)


# Domains


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


# Source


def test_digits_keep_their_order_and_use_the_full_range():
    source = sources.get("digits")(None, None)
    listing = source.listing()
    images = source.decode(np.array([0, 7]))
    assert (len(listing.refs), listing.refs[7], listing.labels[7]) == (1797, "digits/7", 7)
    assert [image.shape for image in images] == [(8, 8, 1)] * 2
    assert max(image.max() for image in images) == 255


# Splits


def test_all_domain_versions_of_a_source_image_share_a_split(subset):
    index = subset.index
    splits = {}
    for source, split in zip(index["source_id"], index["split"], strict=True):
        splits.setdefault(source, set()).add(split)
    assert len(splits) == 200
    assert all(len(found) == 1 for found in splits.values())
    _, counts = np.unique(index["source_id"], return_counts=True)
    assert set(counts) == {len(DOMAINS)}


def test_every_class_has_the_same_composition(subset):
    index = subset.index
    for name in DOMAINS:
        for label in range(10):
            here = (index["domain"] == name) & (index["label"] == label)
            found = {s: int((index["split"][here] == s).sum()) for s in stage.SPLITS}
            # 20 images in shares of 0.67, 0.11, 0.22.
            assert found == {"train": 13, "val": 2, "test": 5}


def test_index_describes_the_pixels(subset):
    index = subset.index
    np.testing.assert_array_equal(index["sample_id"], np.arange(len(subset.pixels)))
    source = sources.get("digits")(None, None)
    rows = np.flatnonzero(index["domain"] == "grey")[::17]
    want = resize(source.decode(index["source_id"][rows]), 12)
    np.testing.assert_array_equal(subset.pixels[rows][..., 1], want[..., 0])
    labels = source.listing().labels[index["source_id"]]
    np.testing.assert_array_equal(index["label"], labels)
    assert (index["cue"][index["domain"] == "cue"] == labels[index["domain"] == "cue"]).all()
    assert (index["cue"][index["domain"] == "grey"] == -1).all()


def test_images_come_channels_first_and_unchanged(subset):
    rows = np.array([3, 400])
    got = subset.images(rows)
    assert got.shape == (2, 3, 12, 12)
    np.testing.assert_array_equal(got.permute(0, 2, 3, 1).numpy(), subset.pixels[rows])


def test_subset_stage_writes_the_same_bytes_twice(subset, tmp_path):
    stage.run(slice_of(), Call(tmp_path, tmp_path))
    for name in ("index.parquet", "pixels.npy", "subset.json"):
        assert (tmp_path / name).read_bytes() == (subset.folder / name).read_bytes()


def test_seed_of_a_set_changes_its_split():
    listing = sources.get("digits")(None, None).listing()
    first, again, other = (
        assign_splits(slice_of(seed=s, per_class=None), listing, listing.labels) for s in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).mean() > 0.2


def test_sets_made_of_the_same_images_keep_the_same_test_images_apart():
    listing = sources.get("digits")(None, None).listing()
    parity = {"even": ["0", "2", "4", "6", "8"], "odd": ["1", "3", "5", "7", "9"]}
    labels, _ = merge_classes(listing.labels, listing.class_names, parity)
    one = assign_splits(slice_of(per_class=None), listing, listing.labels)
    two = assign_splits(slice_of(name="parity", classes=parity, per_class=None), listing, labels)
    np.testing.assert_array_equal(one, two)


def test_smaller_set_of_the_same_images_has_no_test_image_that_a_larger_one_trains_on():
    listing = sources.get("digits")(None, None).listing()
    large = assign_splits(slice_of(per_class=None), listing, listing.labels)
    for per_class in (10, 37, 150):
        small = assign_splits(slice_of(per_class=per_class), listing, listing.labels)
        used = small != ""
        assert np.bincount(listing.labels[used]).tolist() == [per_class] * 10
        np.testing.assert_array_equal(small[used], large[used])


@given(
    counts=some.lists(some.integers(8, 60), min_size=1, max_size=5),
    per_class=some.none() | some.just(8),
    val=some.floats(0.13, 0.3),
    test=some.floats(0.13, 0.3),
    seed=some.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_split_shares_hold_in_every_class(counts, per_class, val, test, seed):
    labels = np.repeat(np.arange(len(counts)), counts)
    listing = Listing([str(i) for i in labels], labels, [f"c{k}" for k in range(len(counts))])
    fractions = SplitFractions(train=1 - val - test, val=val, test=test)
    split = assign_splits(
        slice_of(split=fractions, per_class=per_class, seed=seed), listing, labels
    )
    for k, count in enumerate(counts):
        here = split[labels == k]
        used = per_class or count
        assert (here != "").sum() == used
        for part, share in (("train", 1 - val - test), ("val", val), ("test", test)):
            assert abs((here == part).sum() - share * used) <= 1.5


def test_a_source_with_a_split_of_its_own_keeps_its_test_images():
    labels = np.repeat([0, 1], 30)
    own = np.where(np.arange(60) % 3 == 0, "test", "train")
    listing = Listing([str(i) for i in range(60)], labels, ["a", "b"], splits=own)
    split = assign_splits(slice_of(per_class=None), listing, labels)
    np.testing.assert_array_equal(split == "test", own == "test")
    # 20 images a class are left, in shares of 0.67 to 0.11.
    assert ((split == "train").sum(), (split == "val").sum()) == (34, 6)


def test_test_images_of_its_own_may_lack_a_class_but_training_images_may_not():
    labels = np.repeat([0, 1], 30)
    own = np.where((np.arange(60) % 3 == 0) & (labels == 0), "test", "train")
    listing = Listing([str(i) for i in range(60)], labels, ["a", "b"], splits=own)
    split = assign_splits(slice_of(per_class=None), listing, labels)
    assert set(split[labels == 1]) == {"train", "val"}
    own = np.where((np.arange(60) % 3 == 0) | (labels == 0), "test", "train")
    listing = Listing([str(i) for i in range(60)], labels, ["a", "b"], splits=own)
    with pytest.raises(KdpipeError, match=r"Class 'a' of .* has no image for the train split"):
        assign_splits(slice_of(per_class=None), listing, labels)


def test_a_source_of_training_images_only_is_split_as_one_without_a_split():
    listing = sources.get("digits")(None, None).listing()
    own = np.full(len(listing.labels), "train")
    marked = Listing(listing.refs, listing.labels, listing.class_names, splits=own)
    np.testing.assert_array_equal(
        assign_splits(slice_of(per_class=None), marked, listing.labels),
        assign_splits(slice_of(per_class=None), listing, listing.labels),
    )


def test_images_of_unwanted_classes_are_in_no_split():
    listing = sources.get("digits")(None, None).listing()
    labels, names = merge_classes(
        listing.labels, listing.class_names, {"low": ["0", "1"], "high": ["9"]}
    )
    assert names == ["low", "high"]
    np.testing.assert_array_equal(labels[listing.labels == 1], 0)
    np.testing.assert_array_equal(labels[listing.labels == 9], 1)
    split = assign_splits(slice_of(per_class=None), listing, labels)
    np.testing.assert_array_equal(split != "", np.isin(listing.labels, [0, 1, 9]))


def test_class_that_the_source_does_not_have_is_named():
    listing = sources.get("digits")(None, None).listing()
    with pytest.raises(KdpipeError, match=r"no class 'ten'; it has 0, 1, 2"):
        merge_classes(listing.labels, listing.class_names, {"big": ["9", "ten"]})


def test_more_images_than_a_class_has_are_refused():
    listing = sources.get("digits")(None, None).listing()
    with pytest.raises(KdpipeError, match=r"asks for 500 images, but class '0' has 178"):
        assign_splits(slice_of(per_class=500), listing, listing.labels)


def test_split_without_an_image_is_refused():
    listing = sources.get("digits")(None, None).listing()
    with pytest.raises(KdpipeError, match=r"no image for the val split: 3 images are too few"):
        assign_splits(slice_of(per_class=3), listing, listing.labels)


def test_split_shares_have_to_add_up():
    with pytest.raises(ValueError, match="add up to 1"):
        SplitFractions(train=0.5, val=0.1, test=0.1)


# Selection


def selection(**changes) -> Selection:
    return Selection(**{"set": "digits", "domains": ["grey"], **changes})


@pytest.mark.parametrize("trained_on", [["grey"], ["colour", "photo"], list(DOMAINS)])
@pytest.mark.parametrize("limits", [{}, {"per_class": 5}, {"per_group": {"3": 13, "7": 2}}])
def test_no_domain_version_of_a_test_digit_is_trained_on(subset, trained_on, limits):
    chosen = selection(domains=trained_on, **limits)
    index = subset.index
    train = select(index, chosen, "train")
    val = select(index, chosen, "val", compose=False)
    tests = {
        s
        for name in DOMAINS
        for s in index["source_id"][select(index, selection(domains=[name]), "test")]
    }
    assert len(tests) == 50
    assert not tests & set(index["source_id"][train])
    assert not tests & set(index["source_id"][val])
    assert not set(index["source_id"][train]) & set(index["source_id"][val])


def test_selection_has_the_rows_asked_for_in_ascending_order(subset):
    index = subset.index
    rows = select(index, selection(domains=["grey", "photo"]), "train")
    want = [
        r
        for r in range(len(index["split"]))
        if index["split"][r] == "train" and index["domain"][r] in ("grey", "photo")
    ]
    assert rows.tolist() == want


def test_per_class_counts_source_images_and_takes_all_their_domains(subset):
    index = subset.index
    rows = select(index, selection(domains=["grey", "colour"], per_class=4), "train")
    for label in range(10):
        here = rows[index["label"][rows] == label]
        source, counts = np.unique(index["source_id"][here], return_counts=True)
        assert len(source) == 4
        assert set(counts) == {2}


def test_per_group_leaves_out_groups_that_it_does_not_name(subset):
    index = subset.index
    chosen = selection(per_group={"3": 7, "8": 2})
    rows = select(index, chosen, "train")
    groups, counts = np.unique(index["group"][rows], return_counts=True)
    assert dict(zip(groups, counts, strict=True)) == {"3": 7, "8": 2}
    # Validation wants every group.
    everything = select(index, chosen, "val", compose=False)
    assert set(index["group"][everything]) == {str(k) for k in range(10)}


def test_selection_seed_decides_which_images_and_a_smaller_count_is_part_of_a_larger(subset):
    index = subset.index
    few, more = (set(select(index, selection(per_class=n), "train")) for n in (4, 9))
    other = set(select(index, selection(per_class=4, seed=1), "train"))
    assert few < more
    assert few != other
    assert few == set(select(index, selection(per_class=4), "train"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"domains": ["sketch"]}, "no domain 'sketch'; it has colour, conflict, cue, grey, photo"),
        ({"per_class": 14}, "13 training images of class '0', but 14 are asked for"),
        ({"per_group": {"5": 99}}, "13 training images of group '5', but 99 are asked for"),
        ({"per_group": {"eleven": 1}}, "0 training images of group 'eleven', but 1 are asked"),
    ],
)
def test_selection_that_cannot_be_met_says_what_is_missing(subset, changes, message):
    with pytest.raises(KdpipeError, match=message):
        select(subset.index, selection(**changes), "train")


def test_empty_selection_is_refused(subset):
    with pytest.raises(KdpipeError, match="no holdout images of the domain 'grey'"):
        select(subset.index, selection(), "holdout")


@pytest.mark.parametrize("part", ["index", "pixels", "about"])
def test_missing_subset_file_is_named(tmp_path, part):
    file = {"index": "index.parquet", "pixels": "pixels.npy", "about": "subset.json"}[part]
    with pytest.raises(KdpipeError, match=f"{file} is missing; run the subset stage"):
        getattr(Subset(Path(tmp_path)), part)


# Resizing


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


# Photographs of a folder


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


# Squares


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
