"""Parquet files in the layouts of the Hugging Face hub, and common forms of columns."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from helpers import miniature
from helpers.places import TESTS
from kdpipe.audit.images import Columns
from kdpipe.audit.images import source as audited
from kdpipe.base.errors import KdpipeError
from kdpipe.data.sources import sources

NAMES = ["ant", "bee"]


def opened(root, name="parquet", **options):
    cls = sources.get(name)
    return cls(cls.Options(**{"path": "hub", **options}), root)


def refusal(root, name="parquet", **options):
    with pytest.raises(KdpipeError) as caught:
        opened(root, name, **options).listing()
    return str(caught.value)


def counts(values):
    names, numbers = np.unique(values, return_counts=True)
    return dict(zip(names.tolist(), numbers.tolist(), strict=True))


def table(path, labels, image=None, features=None, **columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = image or [miniature.content(k, 8, 8, "PNG") for k in range(len(labels))]
    made = pa.table({"image": image, "label": labels, **columns})
    about = {k: {"names": v, "_type": "ClassLabel"} for k, v in (features or {}).items()}
    pq.write_table(
        made.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": about}})}),
        path,
    )


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train-00000-of-00001", "test-00000-of-00001"),
        ("data/train-00000-of-00001-0123456789abcdef", "data/test-00000-of-00001-fedcba987654321f"),
        ("plain_text/train-00000-of-00001", "plain_text/test-00000-of-00001"),
        ("default/train/0000", "default/test/0000"),
        ("default/partial-train/0000", "default/partial-test/0000"),
        ("train/0000", "validation/0000"),
        ("data/default/train/0000", "data/default/test/0000"),
        ("Train", "Test"),
        ("pets_train", "pets_test"),
        ("pets-train-00000-of-00001", "pets-eval-00000-of-00001"),
        ("training", "dev"),
        ("train_0", "valid_0"),
    ],
)
def test_layouts_of_the_hub(tmp_path, train, test):
    miniature.parquet(tmp_path / "hub" / f"{train}.parquet", [0, 1, 2], [0, 1, 0], NAMES)
    miniature.parquet(tmp_path / "hub" / f"{test}.parquet", [3, 4], [1, 0], NAMES)
    source = opened(tmp_path)
    listing = source.listing()
    assert counts(listing.splits) == {"train": 3, "test": 2}
    assert listing.class_names == NAMES
    order = listing.refs.index(f"{test}.parquet#1")
    np.testing.assert_array_equal(source.decode(np.array([order]))[0], miniature.picture(4))
    assert audited(tmp_path / "hub", Columns())["name"] == "parquet"


def test_one_of_several_configurations_has_to_be_named(tmp_path):
    for config in ("full", "small"):
        miniature.parquet(tmp_path / "hub" / config / "test" / "0000.parquet", [0, 1], [0, 1])
    text = refusal(tmp_path)
    assert "holds several data sets, full, small; give one of them as the path" in text
    assert len(opened(tmp_path, path="hub/small").listing().refs) == 2
    assert len(opened(tmp_path, path="hub/small/test").listing().refs) == 2


def test_parts_that_are_no_split_are_left_out_with_a_note(tmp_path):
    miniature.parquet(tmp_path / "hub" / "train-00000-of-00001.parquet", [0, 1], [0, 1], NAMES)
    miniature.parquet(tmp_path / "hub" / "test-00000-of-00001.parquet", [2, 3], [0, 1], NAMES)
    miniature.parquet(tmp_path / "hub" / "unlabeled-00000-of-00001.parquet", [4], [-1], NAMES)
    listing = opened(tmp_path).listing()
    assert counts(listing.splits) == {"train": 2, "test": 2}
    assert "left out, of no split: unlabeled-00000-of-00001.parquet" in listing.notes[0]


@pytest.mark.parametrize("none", [-1, None])
def test_a_test_set_without_labels_gives_way_to_validation_images(tmp_path, none):
    base = tmp_path / "hub"
    miniature.parquet(base / "train-0.parquet", [0, 1], [0, 1], NAMES)
    miniature.parquet(base / "validation-0.parquet", [2, 3, 4], [0, 1, 1], NAMES)
    miniature.parquet(base / "test-0.parquet", [5, 6], pa.array([none] * 2, pa.int64()), NAMES)
    listing = opened(tmp_path).listing()
    assert counts(listing.splits) == {"train": 2, "test": 3}
    assert listing.notes == ("2 test images in hub are left out, without a label.",)
    (base / "validation-0.parquet").unlink()
    assert "has rows without a label, 2 of 2 in" in refusal(tmp_path)


def test_a_file_may_lack_a_class(tmp_path):
    miniature.parquet(tmp_path / "hub" / "test-0.parquet", [0, 1, 2], [0, 2, 2], ["a", "b", "c"])
    listing = opened(tmp_path).listing()
    assert (listing.labels.tolist(), listing.class_names) == ([0, 2, 2], ["a", "b", "c"])
    assert listing.notes == ("There is no image of 1 of 3 classes: b.",)


def test_images_by_path_lie_beside_their_file(tmp_path):
    base = tmp_path / "hub"
    struct = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rows = [{"bytes": None, "path": f"{k}.png"} for k in range(2)]
    for k in (0, 1, 2):
        miniature.image(base / "test" / f"{k}.png", k, kind="PNG")
    miniature.image(base / "images" / "3.png", 3, kind="PNG")
    far = str(miniature.image(tmp_path / "elsewhere" / "4.png", 4, kind="PNG"))
    table(base / "test" / "0000.parquet", [0, 1], pa.array(rows, struct))
    table(base / "test" / "0001.parquet", [0, 1, 1, 0], ["2.png", "images/3.png", far, "5.png"])
    source = opened(tmp_path)
    assert len(source.listing().refs) == 6
    for k, image in enumerate(source.decode(np.arange(5))):
        np.testing.assert_array_equal(image, miniature.picture(k))
    with pytest.raises(KdpipeError, match=r"row 3, .*5\.png cannot be read \(there is no such"):
        source.decode(np.array([5]))


@pytest.mark.parametrize(
    ("labels", "names", "numbers"),
    [
        ([0.0, 1.0, 1.0], ["0", "1"], [0, 1, 1]),
        (["cat ", "dog", " cat"], ["cat", "dog"], [0, 1, 0]),
        (["Cardigan", "cardigan"], ["Cardigan", "cardigan"], [0, 1]),
    ],
)
def test_labels_are_what_is_meant(tmp_path, labels, names, numbers):
    table(tmp_path / "hub" / "test-0.parquet", labels)
    listing = opened(tmp_path).listing()
    assert (listing.class_names, listing.labels.tolist()) == (names, numbers)


# Groups


RACE = {"label": ["a", "b"], "race": ["Black", "White"]}


@pytest.mark.parametrize(
    ("race", "wanted"),
    [
        ([0, 1, None, 1], ["Black", "White", "", "White"]),
        ([0.0, 1.0, float("nan"), 1.0], ["Black", "White", "", "White"]),
        ([0, 1, -1, 1], ["Black", "White", "", "White"]),
        (["Black", "White ", None, " White"], ["Black", "White", "", "White"]),
        (["Black", "White", "nan", "White"], ["Black", "White", "", "White"]),
    ],
)
def test_groups_have_names_and_nobody_is_none(tmp_path, race, wanted):
    table(tmp_path / "hub" / "test-0.parquet", [0, 1, 0, 1], features=RACE, race=race)
    listing = opened(tmp_path, group="race").listing()
    assert listing.groups.tolist() == wanted
    assert listing.notes == ("1 of 4 images have no value in 'race', thus no group.",)


@pytest.mark.parametrize(
    ("race", "message"),
    [
        (["White", "white", "Black", "Black"], "upper and lower case alone, 'White', 'white'"),
        ([None] * 4, "Column 'race' in .* has no value"),
        ([0, 1, 2, 0], "has label 2, but its schema names 2"),
        (["all", "Black", "Black", "all"], "'all' is what all images are called"),
    ],
)
def test_groups_that_are_no_groups_are_refused(tmp_path, race, message):
    column = pa.array(race, pa.int64()) if race[0] is None else race
    table(tmp_path / "hub" / "test-0.parquet", [0, 1, 0, 1], features=RACE, race=column)
    with pytest.raises(KdpipeError, match=message):
        opened(tmp_path, group="race").listing()


def test_fairface_knows_how_its_values_are_written(tmp_path):
    miniature.fairface(tmp_path / "fairface")
    plain = opened(tmp_path, "fairface", path="fairface").listing()
    for part in ("train", "val"):
        path = tmp_path / "fairface" / f"fairface_label_{part}.csv"
        text = path.read_text().replace(",Male,", ",male ,").replace("Latino_Hisp", "latino Hisp")
        path.write_text(text)
    found = opened(tmp_path, "fairface", path="fairface").listing()
    assert found.class_names == ["Female", "Male"]
    np.testing.assert_array_equal(found.labels, plain.labels)
    np.testing.assert_array_equal(found.groups, plain.groups)
    path.write_text(text.replace("male ", "mail", 1))
    assert "row 4: gender 'mail' is none of FairFace's" in refusal(
        tmp_path, "fairface", path="fairface"
    )


def test_fairface_names_all_missing_images(tmp_path):
    miniature.fairface(tmp_path / "fairface")
    gone = [tmp_path / "fairface" / "train" / f"{k}.jpg" for k in (3, 8, 20)]
    for path in gone:
        path.unlink()
    text = refusal(tmp_path, "fairface", path="fairface")
    assert "3 images that CSV files list do not exist" in text
    assert all(str(path) in text for path in gone)


# Places


def test_a_home_and_variables_are_written_out(tmp_path, monkeypatch):
    miniature.parquet(tmp_path / "hub" / "test-0.parquet", [0, 1], [0, 1])
    miniature.folders(tmp_path / "set", ["cat", "dog"], 1)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SETS", str(tmp_path))
    for root in ("~", "$HOME", "${SETS}"):
        assert len(opened(root).listing().refs) == 2
        assert len(opened(root, "image_folder", path="set").listing().refs) == 2
    assert len(opened(None, path="~/hub").listing().refs) == 2
    assert audited(tmp_path.__class__("~/set"), Columns())["path"] == f"{tmp_path}/set"


CUT = """
import sys
from pathlib import Path
from helpers import miniature
from kdpipe.data.sources import sources
root = Path(sys.argv[1])
miniature.parquet(root / "hub" / "train-0.parquet", list(range(400)), [0, 1] * 200)
file = root / "hub" / "train-0.parquet"
cls = sources.get("parquet")
source = cls(cls.Options(path="hub"), root)
refs = source.listing().refs
with open(file, "r+b") as stream:
    stream.truncate(4096)
try:
    source.fetch(refs)
except Exception as error:
    print(type(error).__name__, error)
"""


def test_a_parquet_file_that_is_cut_short_while_it_is_read(tmp_path: Path) -> None:
    """In a process of its own: of a mapped file the kernel ends it."""
    done = subprocess.run(
        [sys.executable, "-c", CUT, str(tmp_path)],
        cwd=TESTS,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("KdpipeError ")
    assert "train-0.parquet" in done.stdout
