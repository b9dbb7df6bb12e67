"""Which folders hold the parts of a split, and how deep the folders of classes lie."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from kdpipe.base.errors import KdpipeError
from kdpipe.data.sources.shared.files import (
    Aside,
    folders_in,
    folders_inside,
    loose_images,
    names_under,
)

WORDS = {
    "train": "train training trn",
    "val": "val valid validate validation crossval dev devel development eval evaluation",
    "test": "test testing tst",
}
SPLIT = {word: split for split, words in WORDS.items() for word in words.split()}
# What is said beside it: training_set, test_images, val2017.
FILLERS = {
    "set",
    "data",
    "dataset",
    "split",
    "images",
    "image",
    "imgs",
    "img",
    "part",
    "folder",
    "cross",
}
GLUED = re.compile(rf"({'|'.join(SPLIT)})(?:{'|'.join(FILLERS)})")
WHOLE = {"full", "all", "whole", "complete"}
"""Folders that hold the images of all parts once more."""
MOST_LEVELS = 8
"""Folders of one folder each that are gone through."""


def split_of(name: str, ignoring: Iterable[str] = ()) -> str | None:
    """``train``, ``val`` or ``test``, where a name says nothing else; in any case of letters.

    ``ignoring``: words that say nothing, because all names beside this one have them.
    """
    if len(words := _words(name) - FILLERS - set(ignoring)) != 1:
        return None
    (word,) = words
    glued = GLUED.fullmatch(word)
    return SPLIT.get(glued[1] if glued else word)


def _words(name: str) -> set[str]:
    return set(re.findall(r"[^\W\d_]+", name.casefold()))


def split_folders(base: Path, names: Sequence[str], aside: Aside) -> dict[str, str] | None:
    """Folder to its split, in the order train, val, test; None where the folders are no splits.

    Folders beside those of the splits are left out where they hold no image or, called 'full' or
    'all', every image once more. Raises KdpipeError where only some are splits, or two are the
    same one.
    """
    shared = set.intersection(*map(_words, names)) - SPLIT.keys() if len(names) > 1 else ()
    found = {name: split for name in names if (split := split_of(name, shared))}
    others = [name for name in names if name not in found]
    roles = {SPLIT[word] for name in others for word in _words(name) & SPLIT.keys()}
    if not found or (others and len(roles | set(found.values())) < 2):
        return None  # a class may be called 'train', beside one that is called 'train station'
    for name in others:
        if name.casefold() not in WHOLE and names_under(base / name):
            raise KdpipeError(
                f"The folder {base} holds {_listed(found)}, as for the parts of a split, and "
                f"beside it '{name}' with images that belong to none; take it out, or put all "
                f"folders of classes into one folder."
            )
        aside.folders.append(base / name)
    for split in WORDS:
        if len(same := [name for name, s in found.items() if s == split]) > 1:
            raise KdpipeError(
                f"The folders {_listed(same)} in {base} are both called as {split} images are; "
                f"keep one of them, or put their images into one."
            )
    return {name: s for split in WORDS for name, s in found.items() if s == split}


def _listed(names: Iterable[str]) -> str:
    return " and ".join(f"'{name}'" for name in names)


def inner(folder: Path, layout: str, levels: int = 1) -> Path:
    """The folder that holds the folders of classes: ``folder``, or one further inside where there
    is a single folder at each level, as in amazon/images/CLASS or after unpacking an archive.

    ``levels``: of folders that have to be left, the last of which holds images.
    Raises KdpipeError when there is no folder inside.
    """
    for _ in range(MOST_LEVELS):
        names = folders_in(folder, layout)
        if len(names) > 1 or not _holds_levels(folder / names[0], levels):
            break
        folder = folder / names[0]
    return folder


def _holds_levels(folder: Path, levels: int) -> bool:
    """Whether there are ``levels`` of folders inside before there are images."""
    inside = [folder]
    for _ in range(levels):
        if any(loose_images(place) for place in inside):
            return False
        inside = [place / name for place in inside for name in folders_inside(place)]
    return bool(inside)


def parts_in(base: Path, layout: str, aside: Aside) -> tuple[Path, dict[str, str] | None]:
    """Where the folders of classes or of splits are, and of the latter each with its split.

    A part without folders of classes is left out where another one can be tested on in its place;
    raises KdpipeError where there is none.
    """
    place = inner(base, layout)
    parts = split_folders(place, folders_in(place, layout), aside)
    if parts is None:
        return place, None
    aside.loose += loose_images(place)
    flat = [name for name in parts if not folders_inside(place / name)]
    for name in flat:
        images = loose_images(place / name)
        rest = {other: split for other, split in parts.items() if other not in flat}
        if not images or not set(rest.values()) & {"val", "test"}:
            what = "holds images, but no folders of classes" if images else "holds no folder"
            raise KdpipeError(
                f"The folder {place / name} {what}; take it out, or put its images into a folder "
                f"a class. Expected are files {layout}."
            )
        aside.unlabelled += images
    return place, {name: split for name, split in parts.items() if name not in flat}


def tested(parts: dict[str, str]) -> dict[str, str]:
    """Validation images are for testing where there are no others: that is what a validation set
    without a public test set is used as."""
    if "test" in parts.values():
        return parts
    return {name: "test" if split == "val" else split for name, split in parts.items()}
