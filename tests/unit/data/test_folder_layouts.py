"""Layouts of unpacked data sets: names of splits, intermediate folders."""

from __future__ import annotations

import numpy as np
import pytest

from helpers import miniature
from kdpipe.base.errors import KdpipeError
from kdpipe.data.selection import Selection, select
from kdpipe.data.sources import sources
from kdpipe.data.sources.shared.layout import split_of


def listed(root, name="image_folder", path="set"):
    cls = sources.get(name)
    return cls(cls.Options(path=path), root).listing()


def counts(values):
    names, numbers = np.unique(values, return_counts=True)
    return dict(zip(names.tolist(), numbers.tolist(), strict=True))


def refusal(root, name="image_folder"):
    with pytest.raises(KdpipeError) as caught:
        listed(root, name)
    return str(caught.value)


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train", "test"),
        ("Train", "Test"),
        ("TRAIN", "VAL"),
        ("training_set", "test_set"),
        ("training", "testing"),
        ("train", "eval"),
        ("train", "valid"),
        ("train", "Validation"),
        ("train", "dev"),
        ("trainset", "testset"),
        ("train_images", "test_images"),
        ("train2017", "val2017"),
        ("seg_train/seg_train", "seg_test/seg_test"),
        ("animals-train", "animals-test"),
        ("Training Data", "Test Data"),
        ("train/images", "test/images"),
        ("dataset/train", "dataset/test"),
        ("archive/data/Train", "archive/data/Test"),
    ],
)
def test_splits_are_known_by_many_names(tmp_path, train, test):
    miniature.folders(tmp_path / "set" / train, ["cat", "dog"], 3)
    miniature.folders(tmp_path / "set" / test, ["cat", "dog"], 1, start=500)
    listing = listed(tmp_path)
    assert listing.class_names == ["cat", "dog"]
    assert counts(listing.splits) == {"train": 6, "test": 2}
    for ref, split, label in zip(listing.refs, listing.splits, listing.labels, strict=True):
        assert ref.startswith(train if split == "train" else test)
        assert ref.split("/")[-2] == ["cat", "dog"][label]
        assert (tmp_path / "set" / ref).is_file()


def test_three_parts_keep_their_roles(tmp_path):
    for part, each in (("Training", 4), ("eval", 2), ("Test_Set", 3)):
        miniature.folders(tmp_path / "set" / part, ["cat", "dog"], each)
    assert counts(listed(tmp_path).splits) == {"train": 8, "val": 4, "test": 6}


@pytest.mark.parametrize(
    "classes",
    [
        ["bus", "car", "train"],
        ["train", "train station"],
        ["test tube", "valid id"],
        ["tests", "trains"],
        ["developer", "trainer"],
        ["dog", "images"],
    ],
)
def test_classes_that_sound_like_splits_are_classes(tmp_path, classes):
    miniature.folders(tmp_path / "set", classes, 2)
    listing = listed(tmp_path)
    assert listing.class_names == classes
    assert listing.splits is None


@pytest.mark.parametrize("name", ["train_val", "test tube", "2017", "", "train-test", "model"])
def test_names_that_say_more_or_less_are_no_split(name):
    assert split_of(name) is None


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (("train", "test", "extra"), "holds 'test' and 'train', .* beside it 'extra' with images"),
        (
            ("train", "test_unlabelled"),
            "holds 'train', as for the parts .* beside it 'test_unlabelled'",
        ),
        (("train", "Train", "test"), "'Train' and 'train' in .* are both called as train images"),
        (("train", "val", "valid"), "'val' and 'valid' in .* are both called as val images are"),
    ],
)
def test_folders_that_may_be_either_are_named(tmp_path, folders, message):
    for folder in folders:
        miniature.folders(tmp_path / "set" / folder, ["cat", "dog"], 1)
    with pytest.raises(KdpipeError, match=message):
        listed(tmp_path)


def test_folders_without_images_beside_splits_are_left_out_with_a_note(tmp_path):
    for part in ("train", "test"):
        miniature.folders(tmp_path / "set" / part, ["cat", "dog"], 2)
    (tmp_path / "set" / "annotations").mkdir()
    (tmp_path / "set" / "annotations" / "train.txt").write_text("cat/000.jpg 0\n")
    listing = listed(tmp_path)
    assert listing.class_names == ["cat", "dog"]
    assert "1 folder in set is left out" in listing.notes[0]
    assert "annotations" in listing.notes[0]


def test_test_images_without_classes_are_left_out_beside_validation_images(tmp_path):
    for part in ("train", "val"):
        miniature.folders(tmp_path / "set" / part, ["cat", "dog"], 2)
    for i in range(3):
        miniature.image(tmp_path / "set" / "test" / f"{i}.jpg", i)
    listing = listed(tmp_path)
    assert counts(listing.splits) == {"train": 4, "test": 4}
    assert "3 images in set are left out, in no folder of a class" in listing.notes[0]


def test_test_images_without_classes_are_refused_where_there_are_no_others(tmp_path):
    miniature.folders(tmp_path / "set" / "train", ["cat", "dog"], 2)
    miniature.image(tmp_path / "set" / "test" / "1.jpg")
    text = refusal(tmp_path)
    assert f"{tmp_path}/set/test holds images, but no folders of classes; take it out" in text


def test_a_folder_between_is_no_class(tmp_path):
    miniature.folders(tmp_path / "set" / "unpacked" / "images", ["cat", "dog"], 2)
    listing = listed(tmp_path)
    assert listing.class_names == ["cat", "dog"]
    assert listing.refs[0] == "unpacked/images/cat/000.jpg"


def test_nested_folders_of_a_class_stay_one_class(tmp_path):
    for name in ("cat", "dog"):
        miniature.folders(tmp_path / "set" / name, ["left", "right"], 2)
    listing = listed(tmp_path)
    assert listing.class_names == ["cat", "dog"]
    assert len(listing.refs) == 8


def test_office_31_as_it_is_unpacked(tmp_path):
    for domain in ("amazon", "dslr", "webcam"):
        miniature.folders(tmp_path / "set" / domain / "images", ["back_pack", "bike"], 3)
    listing = listed(tmp_path, "domain_folder")
    assert listing.class_names == ["back_pack", "bike"]
    assert counts(listing.domains) == {"amazon": 6, "dslr": 6, "webcam": 6}
    assert listing.splits is None
    assert listing.refs[0] == "amazon/images/back_pack/000.jpg"


def test_vlcs_as_it_is_unpacked(tmp_path):
    for domain in ("CALTECH", "LABELME"):
        for part, each in (("train", 4), ("crossval", 2), ("test", 3), ("full", 9)):
            miniature.folders(tmp_path / "set" / domain / part, ["0", "1"], each)
    listing = listed(tmp_path, "domain_folder")
    assert listing.class_names == ["0", "1"]
    assert counts(listing.splits) == {"train": 16, "val": 8, "test": 12}
    assert counts(listing.domains) == {"CALTECH": 18, "LABELME": 18}
    assert "2 folders in set are left out" in listing.notes[0]


def test_domains_lie_deeper_and_beside_lists(tmp_path):
    miniature.domain_folders(tmp_path / "set" / "PACS" / "kfold", ["photo", "sketch"], ["a", "b"])
    (tmp_path / "set" / "PACS" / "kfold" / "splits").mkdir()
    listing = listed(tmp_path, "domain_folder")
    assert counts(listing.domains) == {"photo": 18, "sketch": 18}
    assert "1 folder in set is left out" in listing.notes[0]


def test_one_domain_stays_a_domain(tmp_path):
    miniature.domain_folders(tmp_path / "set", ["photo"], ["cat", "dog"])
    listing = listed(tmp_path, "domain_folder")
    assert listing.class_names == ["cat", "dog"]
    assert set(listing.domains) == {"photo"}


def test_domains_have_splits_all_or_none(tmp_path):
    for part in ("train", "test"):
        miniature.folders(tmp_path / "set" / "art" / part, ["cat", "dog"], 2)
    miniature.folders(tmp_path / "set" / "photo", ["cat", "dog"], 2)
    assert "'photo' has none; give all of them such folders" in refusal(tmp_path, "domain_folder")


def test_domains_read_as_classes_are_noticed(tmp_path):
    for domain in ("amazon", "dslr"):
        miniature.folders(tmp_path / "set" / domain / "images", ["bike", "desk"], 1)
    listing = listed(tmp_path)
    assert listing.class_names == ["amazon", "dslr"]
    assert "hold the same folders (bike, desk): if those are the classes" in listing.notes[0]


def test_nothing_is_trained_on_one_class():
    index = {"class_name": np.array(["cat"] * 3), "domain": np.array(["o"] * 3)}
    index["split"] = np.array(["train"] * 3)
    with pytest.raises(KdpipeError, match="'animals' has one class only, 'cat'"):
        select(index, Selection(set="animals", domains=["o"]), "train")


def test_domains_without_images_are_named(tmp_path):
    for domain in ("photo", "sketch"):
        (tmp_path / "set" / domain).mkdir(parents=True)
    assert f"The folders in {tmp_path}/set hold no image" in refusal(tmp_path, "domain_folder")
