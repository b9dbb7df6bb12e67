"""Subsets: their splits, classes, composition and bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from helpers.digits_subset import DOMAINS, settings_of, write_subset
from kdpipe.base.errors import KdpipeError
from kdpipe.data.render import resize
from kdpipe.data.sources import sources
from kdpipe.data.sources.base import Listing
from kdpipe.data.split import SplitFractions
from kdpipe.data.store import Subset
from kdpipe.stages import subset as stage
from kdpipe.stages.base import Call
from kdpipe.stages.subset import assign_splits, merge_classes


@pytest.fixture(scope="module")
def subset(tmp_path_factory) -> Subset:
    return write_subset(tmp_path_factory.mktemp("subset"))


def test_digits_keep_their_order_and_use_the_full_range():
    source = sources.get("digits")(None, None)
    listing = source.listing()
    images = source.decode(np.array([0, 7]))
    assert (len(listing.refs), listing.refs[7], listing.labels[7]) == (1797, "digits/7", 7)
    assert [image.shape for image in images] == [(8, 8, 1)] * 2
    assert max(image.max() for image in images) == 255


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
    stage.run(settings_of(), Call(tmp_path, tmp_path))
    for name in ("index.parquet", "pixels.npy", "subset.json"):
        assert (tmp_path / name).read_bytes() == (subset.folder / name).read_bytes()


def test_seed_of_a_set_changes_its_split():
    listing = sources.get("digits")(None, None).listing()
    first, again, other = (
        assign_splits(settings_of(seed=s, per_class=None), listing, listing.labels)
        for s in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).mean() > 0.2


def test_sets_made_of_the_same_images_keep_the_same_test_images_apart():
    listing = sources.get("digits")(None, None).listing()
    parity = {"even": ["0", "2", "4", "6", "8"], "odd": ["1", "3", "5", "7", "9"]}
    labels, _ = merge_classes(listing.labels, listing.class_names, parity)
    one = assign_splits(settings_of(per_class=None), listing, listing.labels)
    two = assign_splits(settings_of(name="parity", classes=parity, per_class=None), listing, labels)
    np.testing.assert_array_equal(one, two)


def test_smaller_set_of_the_same_images_has_no_test_image_that_a_larger_one_trains_on():
    listing = sources.get("digits")(None, None).listing()
    large = assign_splits(settings_of(per_class=None), listing, listing.labels)
    for per_class in (10, 37, 150):
        small = assign_splits(settings_of(per_class=per_class), listing, listing.labels)
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
        settings_of(split=fractions, per_class=per_class, seed=seed), listing, labels
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
    split = assign_splits(settings_of(per_class=None), listing, labels)
    np.testing.assert_array_equal(split == "test", own == "test")
    # 20 images a class are left, in shares of 0.67 to 0.11.
    assert ((split == "train").sum(), (split == "val").sum()) == (34, 6)


def test_test_images_of_its_own_may_lack_a_class_but_training_images_may_not():
    labels = np.repeat([0, 1], 30)
    own = np.where((np.arange(60) % 3 == 0) & (labels == 0), "test", "train")
    listing = Listing([str(i) for i in range(60)], labels, ["a", "b"], splits=own)
    split = assign_splits(settings_of(per_class=None), listing, labels)
    assert set(split[labels == 1]) == {"train", "val"}
    own = np.where((np.arange(60) % 3 == 0) | (labels == 0), "test", "train")
    listing = Listing([str(i) for i in range(60)], labels, ["a", "b"], splits=own)
    with pytest.raises(KdpipeError, match=r"Class 'a' of .* has no image for the train split"):
        assign_splits(settings_of(per_class=None), listing, labels)


def test_a_source_of_training_images_only_is_split_as_one_without_a_split():
    listing = sources.get("digits")(None, None).listing()
    own = np.full(len(listing.labels), "train")
    marked = Listing(listing.refs, listing.labels, listing.class_names, splits=own)
    np.testing.assert_array_equal(
        assign_splits(settings_of(per_class=None), marked, listing.labels),
        assign_splits(settings_of(per_class=None), listing, listing.labels),
    )


def test_images_of_unwanted_classes_are_in_no_split():
    listing = sources.get("digits")(None, None).listing()
    labels, names = merge_classes(
        listing.labels, listing.class_names, {"low": ["0", "1"], "high": ["9"]}
    )
    assert names == ["low", "high"]
    np.testing.assert_array_equal(labels[listing.labels == 1], 0)
    np.testing.assert_array_equal(labels[listing.labels == 9], 1)
    split = assign_splits(settings_of(per_class=None), listing, labels)
    np.testing.assert_array_equal(split != "", np.isin(listing.labels, [0, 1, 9]))


def test_class_that_the_source_does_not_have_is_named():
    listing = sources.get("digits")(None, None).listing()
    with pytest.raises(KdpipeError, match=r"no class 'ten'; it has 0, 1, 2"):
        merge_classes(listing.labels, listing.class_names, {"big": ["9", "ten"]})


def test_more_images_than_a_class_has_are_refused():
    listing = sources.get("digits")(None, None).listing()
    with pytest.raises(KdpipeError, match=r"asks for 500 images, but class '0' has 178"):
        assign_splits(settings_of(per_class=500), listing, listing.labels)


def test_split_without_an_image_is_refused():
    listing = sources.get("digits")(None, None).listing()
    with pytest.raises(KdpipeError, match=r"no image for the val split: 3 images are too few"):
        assign_splits(settings_of(per_class=3), listing, listing.labels)


def test_split_shares_have_to_add_up():
    with pytest.raises(ValueError, match="add up to 1"):
        SplitFractions(train=0.5, val=0.1, test=0.1)


@pytest.mark.parametrize("part", ["index", "pixels", "about"])
def test_missing_subset_file_is_named(tmp_path, part):
    file = {"index": "index.parquet", "pixels": "pixels.npy", "about": "subset.json"}[part]
    with pytest.raises(KdpipeError, match=f"{file} is missing; run the subset stage"):
        getattr(Subset(Path(tmp_path)), part)


def test_a_class_of_the_source_cannot_become_two():
    listing = Listing(["a", "b", "c"], np.array([0, 1, 2]), ["one", "two", "three"])
    with pytest.raises(KdpipeError, match="'two' of the source is listed twice"):
        merge_classes(
            listing.labels, listing.class_names, {"low": ["one", "two"], "high": ["two", "three"]}
        )
    labels, names = merge_classes(
        listing.labels, listing.class_names, {"low": ["one", "two"], "high": ["three"]}
    )
    assert labels.tolist() == [0, 0, 1]
    assert names == ["low", "high"]
