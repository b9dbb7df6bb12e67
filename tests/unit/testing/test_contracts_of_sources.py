"""Each contract of sources notices the mistake that it is there for, in one sentence."""

from __future__ import annotations

import random

import numpy as np
import pytest

from helpers.broken_contracts import named, said
from kdpipe.data.sources import sources
from kdpipe.data.sources.base import Listing, Source
from kdpipe.testing import check_source, checks_of_source


class Stripes(Source):
    """Twelve images of stripes."""

    def listing(self):
        return Listing([f"stripes/{k}" for k in range(12)], np.arange(12) % 3, ["a", "b", "c"])

    def decode(self, rows):
        return [np.full((9, 8, 3), 20 * row, np.uint8) for row in rows]


class Twins(Stripes):
    """Gives two images one name."""

    def listing(self):
        return Listing(["stripes/0"] * 12, np.arange(12) % 3, ["a", "b", "c"])


class Uncounted(Stripes):
    """Has a class too few."""

    def listing(self):
        return Listing([f"stripes/{k}" for k in range(12)], np.arange(12) % 3, ["a", "b"])


class Holdout(Stripes):
    """Calls a split as nobody does."""

    def listing(self):
        found = super().listing()
        return Listing(found.refs, found.labels, found.class_names, splits=np.array(["dev"] * 12))


class Shuffled(Stripes):
    """Lists its images in another order each time."""

    def listing(self):
        found = super().listing()
        return Listing(random.sample(found.refs, 12), found.labels, found.class_names)


class Floats(Stripes):
    """Gives images in [0, 1]."""

    def decode(self, rows):
        return [image / 255 for image in super().decode(rows)]


class Sorted(Stripes):
    """Gives images in the order of the file."""

    def decode(self, rows):
        return super().decode(np.sort(rows))


class Tiny(Stripes):
    """Reduces images below what was asked for."""

    def fetch(self, refs, shorter=None):
        return [image[::3, ::3] if shorter else image for image in super().fetch(refs)]


class Holds(Stripes):
    """Keeps something that belongs to its process."""

    def decode(self, rows):
        self.open = (row for row in rows)
        return super().decode(rows)


class Lost(Stripes):
    """Opens a file that may not be there."""

    def listing(self):
        open(self.folder("stripes.txt")).close()
        return super().listing()


@pytest.mark.parametrize(
    ("cls", "contract", "wrong"),
    [
        (Twins, "listing_is_consistent", "two images have the same ref"),
        (Uncounted, "listing_is_consistent", "labels are 0 … 2, but there are 2 classes"),
        (Holdout, "columns_hold_what_they_say", "a split is called 'dev'"),
        (Shuffled, "same_listing_again", "its refs differ from one listing to the next"),
        (Floats, "images_are_uint8", "an image is float64, not uint8"),
        (Sorted, "rows_decode_in_any_order", "depends on the rows that are decoded with it"),
        (Tiny, "fetch_gives_the_same_images", "reduces an image of (9, 8) to (3, 3)"),
        (Holds, "survives_pickling", "cannot pickle 'generator' object"),
        (Lost, "missing_data_is_a_sentence", "it raises FileNotFoundError"),
    ],
)
def test_mistakes_of_sources(cls, contract, wrong, tmp_path):
    (tmp_path / "stripes.txt").touch()
    assert wrong in said(checks_of_source(named(sources, cls), root=tmp_path), contract)


def test_a_good_source_passes(tmp_path):
    check_source(named(sources, Stripes), root=tmp_path)
