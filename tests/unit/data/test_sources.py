"""Every source on miniature data in its layout, and its error messages."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from helpers import miniature
from helpers.miniature import PACS, RACES, VLCS, picture
from kdpipe.base.errors import KdpipeError
from kdpipe.data.sources import sources
from kdpipe.data.sources.shared import decode as _decode


def opened(name, root, **options):
    cls = sources.get(name)
    return cls(cls.Options(**options), root)


def counts(values):
    names, numbers = np.unique(values, return_counts=True)
    return dict(zip(names.tolist(), numbers.tolist(), strict=True))


def refusal(name, root, **options) -> str:
    """The sentence that a listing ends in."""
    with pytest.raises(KdpipeError) as caught:
        opened(name, root, **options).listing()
    text = str(caught.value)
    assert "\n" not in text
    assert text.endswith(".")
    return text


# MNIST


@pytest.mark.parametrize("packed", [True, False])
def test_mnist_keeps_its_split_and_order(tmp_path, packed):
    miniature.mnist(tmp_path / "mnist", packed=packed)
    source = opened("mnist", tmp_path)
    listing = source.listing()
    assert counts(listing.splits) == {"train": 60, "test": 20}
    assert listing.class_names == [str(d) for d in range(10)]
    assert listing.labels[:12].tolist() == [*range(10), 0, 1]
    images = source.decode(np.array([7, 63]))
    assert [image.shape for image in images] == [(28, 28, 1)] * 2
    assert [int(image[0, 0, 0]) for image in images] == [7, 3]
    np.testing.assert_array_equal(source.fetch([listing.refs[63]])[0], images[1])


def test_mnist_that_is_missing_or_damaged_is_named(tmp_path):
    text = refusal("mnist", tmp_path)
    assert f"{tmp_path}/mnist/MNIST/raw has no train-images-idx3-ubyte" in text
    assert "as torchvision keeps them" in text
    assert "set data.root" in refusal("mnist", None)
    miniature.mnist(tmp_path / "mnist")
    raw = tmp_path / "mnist" / "MNIST" / "raw"
    labels = raw / "t10k-labels-idx1-ubyte.gz"
    whole = labels.read_bytes()
    labels.write_bytes(whole[:-9])
    assert f"{labels} is no complete IDX file" in refusal("mnist", tmp_path)
    miniature.idx(raw / "t10k-labels-idx1-ubyte", np.arange(19) % 10)
    assert "20 test images but 19 labels" in refusal("mnist", tmp_path)
    miniature.idx(raw / "t10k-labels-idx1-ubyte", np.zeros((20, 1)))
    assert "does not begin as such a file does" in refusal("mnist", tmp_path)


def test_nothing_is_downloaded_unless_it_was_asked_for(tmp_path, monkeypatch):
    from torchvision import datasets

    asked = []

    def download(root, download):
        asked.append((root, download))
        miniature.mnist(tmp_path / "mnist")

    monkeypatch.setattr(datasets, "MNIST", download)
    refusal("mnist", tmp_path)
    assert asked == []
    assert len(opened("mnist", tmp_path, download=True).listing().labels) == 80
    assert asked == [(str(tmp_path / "mnist"), True)]


# CIFAR


@pytest.mark.parametrize("classes", [10, 100])
def test_cifar_is_read_when_its_digests_are_right(tmp_path, monkeypatch, classes):
    name = f"cifar{classes}"
    miniature.cifar(tmp_path / "other" / name, classes)
    assert "are not those of the original" in refusal(name, tmp_path / "other")
    miniature.known_cifar(tmp_path / name, classes, monkeypatch)
    source = opened(name, tmp_path)
    listing = source.listing()
    train, test = (200, 40) if classes == 10 else (400, 400)
    assert counts(listing.splits) == {"train": train, "test": test}
    assert listing.class_names == [f"class{k}" for k in range(classes)]
    assert source.n_classes() == classes
    seed = 9 if classes == 10 else 2
    data = np.random.default_rng(seed).integers(0, 256, (test, 3072), dtype=np.uint8)
    (image,) = source.decode(np.array([train + 3]))
    np.testing.assert_array_equal(image, data[3].reshape(3, 32, 32).transpose(1, 2, 0))
    np.testing.assert_array_equal(source.fetch(["test/3"])[0], image)
    assert listing.labels[train + 3] == 3


def test_cifar_that_is_missing_is_named(tmp_path):
    text = refusal("cifar100", tmp_path)
    assert f"{tmp_path}/cifar100/cifar-100-python do not exist" in text
    assert "cifar-100-python.tar.gz" in text


# Folders


def test_image_folder_of_classes(tmp_path):
    miniature.folders(tmp_path / "set", ["cat", "dog"], 3)
    (tmp_path / "set" / "cat" / "._000.jpg").write_bytes(b"left by another program")
    (tmp_path / "set" / "cat" / "notes.txt").write_text("no image")
    source = opened("image_folder", tmp_path, path="set")
    listing = source.listing()
    assert listing.refs == [f"{c}/{i:03d}.jpg" for c in ("cat", "dog") for i in range(3)]
    assert listing.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert listing.splits is None
    assert [image.shape for image in source.decode(np.array([4, 0]))] == [(48, 55, 3), (40, 56, 3)]


def test_image_folder_with_a_split_of_its_own(tmp_path):
    for part, each in (("train", 4), ("valid", 2), ("test", 3)):
        miniature.folders(tmp_path / "set" / part, ["cat", "dog"], each)
    listing = opened("image_folder", tmp_path, path="set").listing()
    assert counts(listing.splits) == {"train": 8, "val": 4, "test": 6}
    assert listing.refs[0] == "train/cat/000.jpg"
    assert len(set(listing.refs)) == 18


def test_validation_images_are_for_testing_where_nothing_else_is(tmp_path):
    miniature.imagenet(tmp_path / "imagenet")
    listing = opened("imagenet", tmp_path).listing()
    assert counts(listing.splits) == {"train": 10, "test": 6}
    assert listing.class_names == ["n01440764", "n01443537"]
    only = opened("imagenet", tmp_path, parts=["val"])
    assert counts(only.listing().splits) == {"test": 6}
    # A plan counts the set as it is when complete.
    assert only.n_images() == 50_000
    assert opened("imagenet", None).n_images() == 1_331_167
    assert opened("image_folder", tmp_path, path="imagenet").n_images() == 16


def test_stylized_imagenet_lies_elsewhere(tmp_path):
    miniature.imagenet(tmp_path / "stylized-imagenet")
    source = opened("stylized_imagenet", tmp_path)
    assert len(source.listing().refs) == 16
    assert source.n_classes() == 1000
    text = refusal("imagenet", tmp_path)
    assert f"{tmp_path}/imagenet/train does not exist; expected are files imagenet/train/n" in text


@pytest.mark.parametrize("missing", ["cat", "dog"])
def test_parts_with_other_classes_are_refused(tmp_path, missing):
    miniature.folders(tmp_path / "set" / "train", ["cat", "dog"], 2)
    miniature.folders(tmp_path / "set" / "val", [c for c in ("cat", "dog") if c != missing], 2)
    assert f"'{missing}' is in one of them only" in refusal("image_folder", tmp_path, path="set")


def test_class_without_images_is_named(tmp_path):
    miniature.folders(tmp_path / "set", ["cat", "dog"], 2)
    (tmp_path / "set" / "eel").mkdir()
    text = refusal("image_folder", tmp_path, path="set")
    assert text.startswith(f"Class 'eel' has no image: the folder {tmp_path}/set/eel holds no")


def test_folder_that_is_missing_or_empty_is_named_with_its_layout(tmp_path):
    text = refusal("image_folder", tmp_path, path="set")
    assert f"{tmp_path}/set does not exist; expected are files CLASS/NAME.jpg" in text
    (tmp_path / "set").mkdir()
    assert f"{tmp_path}/set holds no folder" in refusal("image_folder", tmp_path, path="set")


@pytest.mark.parametrize(
    ("name", "path", "domains", "classes"),
    [("pacs", "PACS", PACS, 7), ("vlcs", "VLCS", VLCS, 5), ("domain_folder", "mine", ["a"], 3)],
)
def test_domains_are_folders(tmp_path, name, path, domains, classes):
    names = [f"class{k}" for k in range(classes)]
    miniature.domain_folders(tmp_path / path, domains, names, each=2)
    options = {"path": path} if name == "domain_folder" else {}
    source = opened(name, tmp_path, **options)
    listing = source.listing()
    assert counts(listing.domains) == dict.fromkeys(domains, 2 * classes)
    assert source.n_classes() == classes
    last = listing.refs.index(f"{domains[-1]}/class2/001.jpg")
    assert (listing.domains[last], listing.labels[last]) == (domains[-1], 2)
    text = refusal(name, tmp_path / "elsewhere", **options)
    assert f"{tmp_path}/elsewhere/{path} does not exist; expected are files {path}/DOMAIN/" in text


def test_domains_with_other_classes_are_refused(tmp_path):
    miniature.domain_folders(tmp_path / "PACS", ["photo", "sketch"], ["dog", "house"], each=1)
    miniature.image(tmp_path / "PACS" / "sketch" / "giraffe" / "1.jpg")
    assert "'giraffe' is in one of them only" in refusal("pacs", tmp_path)


# Files


def test_large_jpeg_is_decoded_at_a_reduced_size(tmp_path):
    path = miniature.image(tmp_path / "large.jpg", 3, height=480, width=960)
    assert _decode.decode_image(path).shape == (480, 960, 3)
    assert _decode.decode_image(path, 480).shape == (480, 960, 3)
    half = _decode.decode_image(path, 200)
    assert half.shape == (240, 480, 3)
    assert _decode.decode_image(path, 30).shape == (60, 120, 3)
    # The same picture: a reduced decode is an average of blocks.
    blocks = _decode.decode_image(path).reshape(240, 2, 480, 2, 3).mean((1, 3))
    assert np.abs(half - blocks).mean() < 2


@pytest.mark.parametrize("kept", [400, 5000])
def test_truncated_jpeg_is_named(tmp_path, kept):
    path = miniature.image(tmp_path / "cut.jpg", height=480, width=640)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(KdpipeError, match=r"cut\.jpg cannot be read \(.*[tT]runcated.*\); repl"):
        _decode.decode_image(path)


@pytest.mark.parametrize("what", [b"", b"\x89PNG no more", b"<html>not found</html>"])
def test_file_that_is_no_image_is_named(tmp_path, what):
    path = tmp_path / "a.png"
    path.write_bytes(what)
    with pytest.raises(KdpipeError, match=r"a\.png cannot be read \(it is no image of a known"):
        _decode.decode_image(path)


@pytest.mark.parametrize("factor", [1.5, 3])
def test_decompression_bomb_is_named(tmp_path, monkeypatch, factor):
    """Pillow warns above its limit and refuses above twice as many pixels."""
    path = miniature.image(tmp_path / "bomb.jpg")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", int(40 * 56 / factor))
    with pytest.raises(KdpipeError, match=r"bomb\.jpg cannot be read .*decompression bomb"):
        _decode.decode_image(path)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(KdpipeError, match=r"gone\.jpg cannot be read \(there is no such file\)"):
        _decode.decode_image(tmp_path / "gone.jpg")


# Parquet


@pytest.fixture
def shards(tmp_path):
    """Two shards for training, one for testing, with row groups of three images."""
    base = tmp_path / "hub"
    names = ["ant", "bee"]
    miniature.parquet(
        base / "train-00000-of-00002.parquet", [0, 1, 2, 3, 4], [0, 1, 0, 1, 0], names
    )
    miniature.parquet(base / "train-00001-of-00002.parquet", [5, 6], [1, 0], names)
    miniature.parquet(base / "test-00000-of-00001.parquet", [7, 8, 9], [1, 0, 1], names)
    return tmp_path


def test_parquet_shards_are_one_set(shards):
    source = opened("parquet", shards, path="hub")
    listing = source.listing()
    assert counts(listing.splits) == {"train": 7, "test": 3}
    assert listing.class_names == ["ant", "bee"]
    order = np.array([6, 0, 4, 9, 3])
    for seed, got in zip(order, source.decode(order), strict=True):
        np.testing.assert_array_equal(got, picture(seed))


def test_parquet_reads_only_the_row_groups_it_needs(shards, monkeypatch):
    import pyarrow.parquet as pq

    source = opened("parquet", shards, path="hub")
    refs = [r for r in source.listing().refs if r.startswith("train-00000")]
    read = []
    real = pq.ParquetFile.read_row_group

    def spy(self, group, *rest, **more):
        read.append(group)
        return real(self, group, *rest, **more)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", spy)
    source.fetch([refs[4], refs[3]])
    assert read == [1]
    source.fetch([refs[4], refs[0], refs[3], refs[1]])
    assert read == [1, 0, 1]


def test_parquet_without_names_of_classes(tmp_path):
    miniature.parquet(
        tmp_path / "hub" / "data" / "all.parquet", [0, 1, 2], [7, 3, 7], group=list("xyx")
    )
    listing = opened("parquet", tmp_path, path="hub", group="group").listing()
    assert (listing.class_names, listing.labels.tolist()) == (["3", "7"], [1, 0, 1])
    assert listing.splits is None
    assert listing.groups.tolist() == ["x", "y", "x"]
    miniature.parquet(tmp_path / "words" / "all.parquet", [0, 1], ["bee", "ant"])
    words = opened("parquet", tmp_path, path="words").listing()
    assert (words.class_names, words.labels.tolist()) == (["ant", "bee"], [1, 0])


def test_parquet_validation_files_are_for_testing_and_patterns_choose(tmp_path):
    base = tmp_path / "hub"
    miniature.parquet(base / "train-0.parquet", [0, 1], [0, 1])
    miniature.parquet(base / "validation-0.parquet", [2, 3, 4], [0, 1, 1])
    assert counts(opened("parquet", tmp_path, path="hub").listing().splits) == {
        "train": 2,
        "test": 3,
    }
    miniature.parquet(base / "test-0.parquet", [5, 6], [1, -1])
    text = refusal("parquet", tmp_path, path="hub")
    assert "has rows without a label, 1 of 2 in" in text
    assert "test-0.parquet and files like it (row 1 is the first)" in text
    files = {"train": "train-*.parquet", "test": "validation-*.parquet"}
    chosen = opened("parquet", tmp_path, path="hub", files=files).listing()
    assert counts(chosen.splits) == {"train": 2, "test": 3}


def test_parquet_mistakes_are_named(tmp_path):
    base = tmp_path / "hub"
    text = refusal("parquet", tmp_path, path="hub")
    assert f"{base} does not exist; expected are files train-00000-of-00001.parquet" in text
    base.mkdir()
    assert "holds no .parquet file" in refusal("parquet", tmp_path, path="hub")
    miniature.parquet(base / "train-0.parquet", [0, 1], [0, 0], ["ant", "bee"])
    text = refusal("parquet", tmp_path, path="hub", label="fine_label")
    assert "train-0.parquet has no column 'fine_label'; it has image, label." in text
    text = refusal("parquet", tmp_path, path="hub", files={"test": "dev-*.parquet"})
    assert "no file dev-*.parquet for test" in text
    miniature.parquet(base / "more.parquet", [0], [1])
    assert "more.parquet does not tell its split" in refusal("parquet", tmp_path, path="hub")
    (base / "more.parquet").unlink()
    (base / "train-0.parquet").write_bytes(b"PAR1 no more")
    assert "train-0.parquet is not readable as Parquet" in refusal("parquet", tmp_path, path="hub")


def test_broken_image_in_a_parquet_file_is_named(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "hub" / "train-0.parquet"
    path.parent.mkdir()
    pq.write_table(pa.table({"image": [miniature.content(1), b"oops"], "label": [0, 1]}), path)
    source = opened("parquet", tmp_path, path="hub")
    assert source.decode(np.array([0]))[0].shape == (40, 56, 3)
    with pytest.raises(KdpipeError, match=r"train-0\.parquet, row 1 cannot be read"):
        source.decode(np.array([1]))


# FairFace


def test_fairface_has_gender_as_class_and_race_as_group(tmp_path):
    miniature.fairface(tmp_path / "fairface")
    source = opened("fairface", tmp_path)
    listing = source.listing()
    assert listing.class_names == ["Female", "Male"]
    assert counts(listing.splits) == {"train": 56, "test": 28}
    assert counts(listing.groups) == dict.fromkeys(RACES, 12)
    assert (listing.refs[0], listing.labels[0], listing.groups[0]) == ("train/1.jpg", 0, "Black")
    assert source.decode(np.array([60]))[0].shape == (40, 56, 3)
    assert source.n_classes() == 2


def test_fairface_mistakes_are_named(tmp_path):
    base = tmp_path / "fairface"
    text = refusal("fairface", tmp_path)
    assert (
        f"{base}/fairface_label_train.csv does not exist; expected in {base} are fairface" in text
    )
    miniature.fairface(base, each=1)
    table = base / "fairface_label_val.csv"
    whole = table.read_text()
    table.write_text(whole.replace("race", "ethnicity", 1))
    text = refusal("fairface", tmp_path)
    assert f"{table} has no column 'race'; it has file, age, gender, ethnicity" in text
    table.write_text(whole.replace(",Male,", ",,", 1))
    assert f"{table}, row 4: file and gender and race need a value" in refusal("fairface", tmp_path)
    table.write_text(whole.splitlines()[0] + "\n")
    assert f"{table} lists no image" in refusal("fairface", tmp_path)
    table.write_text(whole)
    gone = base / "val" / "20.jpg"
    gone.unlink()
    assert f"The image {gone} is listed in a CSV file but does not" in refusal("fairface", tmp_path)
