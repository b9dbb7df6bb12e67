"""Contracts of sources, tried on data that the caller has: a few images suffice."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from kdpipe.base.errors import KdpipeError
from kdpipe.base.registry import Registry
from kdpipe.data.sources import sources
from kdpipe.data.sources.base import Listing, Source
from kdpipe.testing.contracts import Check, checks, found, run, sentence, validated

LOOKED_AT = 12
"""Images that are decoded, spread over the listing."""
SPLITS = {"train", "val", "test"}


@dataclass
class SourceTrial:
    """A source over the data below ``root``, and an ``empty`` folder."""

    cls: type[Source]
    options: Any
    root: Path | None
    empty: Path
    registry: Registry[Any] = sources

    def opened(self) -> Source:
        return self.cls(self.options, self.root)

    def some(self, listing: Listing) -> np.ndarray:
        """Rows of a few images, not in ascending order."""
        n = len(listing.refs)
        return np.unique(np.linspace(0, n - 1, LOOKED_AT).astype(np.int64))[::-1].copy()


def listing_is_consistent(trial: SourceTrial) -> str | None:
    """Every column of the listing has an entry an image; refs are different and stable names;
    labels number the class names, which are different."""
    listing = trial.opened().listing()
    n, classes = len(listing.refs), listing.class_names
    if not n:
        return "it lists no image"
    if not all(isinstance(ref, str) and ref for ref in listing.refs):
        return "a ref is no text, or is empty"
    if len(set(listing.refs)) < n:
        return "two images have the same ref"
    for column in ("labels", "groups", "splits", "domains", "cues"):
        values = getattr(listing, column)
        if values is not None and len(values) != n:
            return f"it lists {n} images but {len(values)} {column}"
    labels = np.asarray(listing.labels)
    if labels.dtype.kind not in "iu" or labels.ndim != 1:
        return f"labels are no integers (n,), but {labels.dtype} {labels.shape}"
    if labels.min() < 0 or labels.max() >= len(classes):
        return f"labels are {labels.min()} … {labels.max()}, but there are {len(classes)} classes"
    if len(set(classes)) < len(classes) or not all(isinstance(c, str) and c for c in classes):
        return "class names are not different texts"
    return None


def columns_hold_what_they_say(trial: SourceTrial) -> str | None:
    """``splits`` are train, val or test; ``groups`` and ``domains`` are words; ``cues`` are class
    numbers or −1; ``notes`` are sentences."""
    listing = trial.opened().listing()
    if listing.splits is not None and (other := set(listing.splits.tolist()) - SPLITS):
        return f"a split is called '{sorted(other)[0]}'"
    for column in ("groups", "domains"):
        values = getattr(listing, column)
        if values is not None and not all(isinstance(v, str) for v in values.tolist()):
            return f"{column} are no words"
    if listing.domains is not None and "" in listing.domains.tolist():
        return "a domain has no name"
    cues = listing.cues
    if cues is not None and (cues.min() < -1 or cues.max() >= len(listing.class_names)):
        return f"cues are from {cues.min()} to {cues.max()}"
    if bare := [note for note in listing.notes if not note.endswith(".")]:
        return f"a note is no sentence: '{bare[0]}'"
    return None


def same_listing_again(trial: SourceTrial) -> str | None:
    """The listing depends on the data alone: its digest says whether a result is still valid."""
    one, two = trial.opened().listing(), trial.opened().listing()
    for column in fields(Listing):
        first, second = getattr(one, column.name), getattr(two, column.name)
        if not np.array_equal(np.asarray(first), np.asarray(second)):
            return f"its {column.name} differ from one listing to the next"
    return None


def images_are_uint8(trial: SourceTrial) -> str | None:
    """``decode`` gives an image a row, uint8 (height, width, 1 or 3), all of as many channels."""
    source = trial.opened()
    rows = trial.some(source.listing())
    images = source.decode(rows)
    if len(images) != len(rows):
        return f"it decodes {len(images)} images for {len(rows)} rows"
    for image in images:
        if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
            return f"an image is {getattr(image, 'dtype', type(image).__name__)}, not uint8"
        if image.ndim != 3 or image.shape[2] not in (1, 3) or 0 in image.shape:
            return f"an image has the shape {image.shape}"
    if len(counts := {image.shape[2] for image in images}) > 1:
        return f"images have {' and '.join(map(str, sorted(counts)))} channels"
    return None


def rows_decode_in_any_order(trial: SourceTrial) -> str | None:
    """An image depends on its row alone: decoded alone, in another order, or a second time it is
    the same; no rows give no images."""
    source = trial.opened()
    rows = trial.some(source.listing())
    together, backwards = source.decode(rows), source.decode(rows[::-1].copy())[::-1]
    alone = [source.decode(rows[k : k + 1])[0] for k in range(len(rows))]
    if not (alike(together, backwards) and alike(together, alone)):
        return "an image depends on the rows that are decoded with it"
    return "it decodes images for no rows" if source.decode(rows[:0]) else None


def fetch_gives_the_same_images(trial: SourceTrial) -> str | None:
    """``fetch`` gives the images by their refs, in a fresh source too; with ``shorter`` a larger
    image may be reduced, but no side below it."""
    listing = trial.opened().listing()
    rows = trial.some(listing)
    refs = [listing.refs[row] for row in rows]
    images = trial.opened().decode(rows)
    if not alike(images, trial.opened().fetch(refs)):
        return "fetch gives other images than decode"
    for whole, image in zip(images, trial.opened().fetch(refs, 8), strict=True):
        if min(image.shape[:2]) < min(8, *whole.shape[:2]):
            return f"fetch(…, 8) reduces an image of {whole.shape[:2]} to {image.shape[:2]}"
    return None


def survives_pickling(trial: SourceTrial) -> str | None:
    """A source that has been used can be pickled: processes that decode get it that way where
    they are not forked."""
    source = trial.opened()
    rows = trial.some(source.listing())
    images = source.decode(rows)
    return (
        None
        if alike(images, pickle.loads(pickle.dumps(source)).decode(rows))
        else ("pickled, it decodes other images")
    )


def missing_data_is_a_sentence(trial: SourceTrial) -> str | None:
    """Where its data is missing, or no data root is set, a KdpipeError says so; a source that
    carries its data needs neither."""
    usual = trial.opened().listing().refs
    for root in (trial.empty, None):
        try:
            listing = trial.cls(trial.options, root).listing()
        except KdpipeError as error:
            if wrong := sentence(error):
                return wrong
        else:
            if listing.refs != usual:
                return "it lists other images, where there are none"
    return None


def alike(one: Sequence[np.ndarray], two: Sequence[np.ndarray]) -> bool:
    return len(one) == len(two) and all(map(np.array_equal, one, two))


CONTRACTS: tuple[Callable[[SourceTrial], str | None], ...] = (
    listing_is_consistent,
    columns_hold_what_they_say,
    same_listing_again,
    images_are_uint8,
    rows_decode_in_any_order,
    fetch_gives_the_same_images,
    survives_pickling,
    missing_data_is_a_sentence,
)


def checks_of_source(
    plug_in: str | type[Source],
    options: Mapping[str, Any] | None = None,
    leave_out: Collection[str] = (),
    *,
    root: Path | None = None,
) -> list[Check[SourceTrial]]:
    """A check for each contract of a source, given by its class or the name in a study.

    ``options``: as in a study; ``root``: the folder that its paths are below, with a few images in
    its layout; ``leave_out``: names of contracts that are not checked. Raises KdpipeError for
    options that are not valid.
    """
    cls = found(sources, plug_in)
    valid = validated(cls, options)

    @contextmanager
    def opened() -> Iterator[SourceTrial]:
        with TemporaryDirectory() as empty:
            yield SourceTrial(cls, valid, root, Path(empty))

    return checks(cls, CONTRACTS, opened, leave_out)


def check_source(
    plug_in: str | type[Source],
    options: Mapping[str, Any] | None = None,
    leave_out: Collection[str] = (),
    *,
    root: Path | None = None,
) -> None:
    """Raise ContractError at the first contract that the source breaks."""
    run(checks_of_source(plug_in, options, leave_out, root=root))
