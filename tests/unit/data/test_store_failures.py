"""Memory, data or folders fail while images are stored or read: one sentence, and a rerun works."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from helpers import miniature
from kdpipe.base.errors import KdpipeError, PassingError
from kdpipe.data import store
from kdpipe.data.sources.shared.decode import decode_image
from kdpipe.data.store import Subset
from kdpipe.run.stage import run_stage

SET = {
    "name": "few", "source": {"name": "image_folder", "options": {"path": "set"}}, "seed": 0,
    "split": {"train": 0.4, "val": 0.2, "test": 0.4}, "size": 8, "classes": None,
    "per_class": None, "domains": {"all": {"name": "original"}},
}  # fmt: skip


def made(folder: Path, **options) -> Path:
    """The stage ``subset`` on the images of ``folder/data``; returns what it wrote."""
    root = folder / "results"
    out = root / "subset" / "few"
    run_stage("subset", json.dumps(SET | options), root, out, data_root=folder / "data")
    return out


@pytest.fixture
def images(tmp_path) -> Path:
    miniature.folders(tmp_path / "data" / "set", ["cat", "dog"], 5)
    return tmp_path


def said(caught) -> str:
    text = str(caught.value)
    assert "\n" not in text
    assert text.endswith(".")
    return text


@pytest.mark.parametrize("how", ["store", "on_the_fly"])
def test_images_that_no_memory_holds(images, how):
    with pytest.raises(PassingError, match=r"subset/few: there is not enough memory \(") as caught:
        made(images, size=10**7, decode=how)  # beyond the addresses of a process
    assert "size or store_limit of the data set" in said(caught)
    left = {path.name for path in (images / "results" / "subset" / "few").glob("*")}
    assert left <= {"pixels.npy", "index.parquet"}  # files that are whole, and no subset.json
    made(images)


def test_an_image_is_not_blamed_for_want_of_memory(images, monkeypatch):
    monkeypatch.setattr(np, "array", lambda *_: (_ for _ in ()).throw(MemoryError()))
    with pytest.raises(MemoryError):
        decode_image(images / "data" / "set" / "cat" / "000.jpg")


@pytest.mark.parametrize("workers", ["0", "1"])
def test_an_image_that_vanishes_while_a_training_decodes_it(images, monkeypatch, workers):
    out = made(images, decode="on_the_fly")
    monkeypatch.setenv("KDPIPE_DATA", str(images / "data"))
    monkeypatch.setenv("KDPIPE_WORKERS", workers)
    monkeypatch.setattr(store, "HELD", 0)
    seen, _ = Subset(out).access(np.arange(10), "cpu")
    order = [np.arange(2)] * 9 + [np.arange(10)]  # more than is decoded ahead
    batches = seen.stream(order)
    next(batches)
    image = images / "data" / "set" / "dog" / "003.jpg"
    content = image.read_bytes()
    image.unlink()
    with pytest.raises(KdpipeError, match=r"set/dog/003\.jpg cannot be read \(there is no such"):
        list(batches)
    image.write_bytes(content)
    assert sum(len(pixels) for _, pixels in seen.stream(order)) == 28


def test_a_shard_that_vanishes_between_two_batches(tmp_path, monkeypatch):
    """What is open stays readable; a process that opens it anew says that it is gone."""
    for name in ("train", "test"):
        miniature.parquet(tmp_path / "data" / "hub" / f"{name}-0.parquet", range(6), [0, 1] * 3)
    out = made(
        tmp_path, source={"name": "parquet", "options": {"path": "hub"}}, decode="on_the_fly"
    )
    monkeypatch.setenv("KDPIPE_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(store, "HELD", 0)
    seen, _ = Subset(out).access(np.arange(12), "cpu")
    assert len(seen[:2]) == 2
    (tmp_path / "data" / "hub" / "train-0.parquet").unlink()
    assert len(seen[:2]) == 2
    anew, _ = Subset(out).access(np.arange(12), "cpu")
    with pytest.raises(KdpipeError, match=r"train-0\.parquet is not readable as Parquet") as caught:
        anew[:12]
    said(caught)


def test_a_data_folder_that_vanishes(images):
    out = made(images)
    before = (out / "pixels.npy").read_bytes()
    shutil.move(images / "data", images / "away")
    with pytest.raises(KdpipeError, match="set does not exist"):
        made(images)
    assert (out / "pixels.npy").read_bytes() == before  # nothing is half-written
    shutil.move(images / "away", images / "data")
    made(images)


def test_a_folder_whose_place_is_taken_while_a_job_runs(images):
    """A file in its place takes no other, whoever asks."""
    place = images / "results" / "subset"
    place.mkdir(parents=True)
    (place / "few").touch()
    with pytest.raises(PassingError, match=r"cannot be written: (Not a dir|File exists)") as caught:
        made(images)
    assert "make room or the folder writable, then run again" in said(caught)
    (place / "few").unlink()
    made(images)
