"""The real files, where they are: shared/data beside or in this repository, or KDPIPE_REAL_DATA."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from helpers.places import REPOSITORY
from kdpipe.data.domains.shared import photographs as _photographs
from kdpipe.data.sources import sources

PLACES = [os.environ.get("KDPIPE_REAL_DATA"), REPOSITORY.parent / "shared" / "data"]


def real(name: str) -> Path:
    """The folder of data that holds ``name``; skips where there is none."""
    for place in filter(None, PLACES):
        if (Path(place) / name).is_dir():
            return Path(place)
    pytest.skip(f"the folder {name} is not in ../shared/data")


def test_mnist_has_seventy_thousand_digits():
    source = sources.get("mnist")(sources.get("mnist").Options(), real("mnist"))
    listing = source.listing()
    assert (listing.splits == "train").sum() == 60_000
    # As counted in the files by everyone, http://yann.lecun.com/exdb/mnist.
    test = np.bincount(listing.labels[listing.splits == "test"])
    assert test.tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    train = np.bincount(listing.labels[listing.splits == "train"])
    assert train.tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    pixels = np.stack(source.decode(np.flatnonzero(listing.splits == "train")))
    # The mean that PyTorch's MNIST example normalises by.
    assert pixels.mean() / 255 == pytest.approx(0.1307, abs=1e-4)


def test_cifar10_in_parquet_has_six_thousand_images_a_class():
    cls = sources.get("parquet")
    source = cls(cls.Options(path="cifar10"), real("cifar10"))
    listing = source.listing()
    assert listing.class_names[:3] == ["airplane", "automobile", "bird"]
    for split, each in (("train", 5000), ("test", 1000)):
        labels = listing.labels[listing.splits == split]
        assert np.bincount(labels).tolist() == [each] * 10
    images = np.stack(source.decode(np.arange(0, 60_000, 600)))
    assert images.shape == (100, 32, 32, 3)
    # Means per channel over the training set are 0.491, 0.482, 0.447.
    assert images.mean((0, 1, 2)) / 255 == pytest.approx([0.491, 0.482, 0.447], abs=0.05)


def test_photographs_of_bsds500_are_each_in_one_split():
    folder = real("bsds500") / "bsds500"
    seen = {}
    for split, share in (("train", 300), ("val", 75), ("test", 125)):
        photographs = _photographs.of_split(folder, split)
        assert len(photographs) == share
        assert {p.shape for p in photographs} == {(321, 481, 3), (481, 321, 3)}
        seen[split] = {p.tobytes() for p in photographs}
    assert len(set.union(*seen.values())) == 500
