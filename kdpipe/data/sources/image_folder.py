"""Images in one folder a class, with or without folders for train, val and test."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np
from pydantic import Field

from kdpipe.base.errors import some_of
from kdpipe.base.options import Options
from kdpipe.data.sources.base import Listing, sources
from kdpipe.data.sources.shared.files import (
    Aside,
    FileSource,
    class_folders,
    folders_inside,
    grouped_classes,
    loose_images,
    numbered,
)
from kdpipe.data.sources.shared.layout import inner, parts_in, tested

LAYOUT = "CLASS/NAME.jpg, or train/CLASS/NAME.jpg with folders val and test beside train"


class ImageFolderOptions(Options):
    path: str = Field(description="Folder of the images, under data.root.")


def listing_of(base: Path, parts: dict[str, str], layout: str, aside: Aside) -> Listing:
    """Images of ``base/FOLDER/CLASS/``; ``parts`` maps each FOLDER to its split.

    All parts have the same classes. Where there is a val part and no test part, it is the test
    part.
    """
    folders = {
        inner(aside.base / base / folder, layout).relative_to(aside.base).as_posix(): split
        for folder, split in tested(parts).items()
    }
    names, refs, of_class, of_folder = grouped_classes(aside.base, list(folders), layout, aside)
    splits = np.array([folders[folder] for folder in of_folder])
    return Listing(refs, numbered(names, of_class), names, splits=splits, notes=aside.notes())


@sources.register("image_folder")
class ImageFolder(FileSource):
    """The layout of torchvision's ImageFolder; the class is the name of the folder.

    Folders that are called as the parts of a split (train, Test, validation_set, …) are the
    source's own split. A single folder that holds the others is gone through.
    """

    Options = ImageFolderOptions

    @cached_property
    def _listing(self) -> Listing:
        aside = Aside(self.base)
        place, parts = parts_in(self.base, LAYOUT, aside)
        if parts is not None:
            return listing_of(place, parts, f"{place.name}/{LAYOUT}", aside)
        found = class_folders(place, LAYOUT, aside)
        start = "" if place == self.base else f"{place.relative_to(self.base).as_posix()}/"
        of_each = [name for name, files in found.items() for _ in files]
        refs = [start + file for files in found.values() for file in files]
        notes = (*aside.notes(), *_like_domains(place, list(found)))
        return Listing(refs, numbered(list(found), of_each), list(found), notes=notes)


def _like_domains(place: Path, classes: list[str]) -> tuple[str, ...]:
    """A sentence where the folders of classes look like those of domains: each holds the same
    folders and no image."""
    inside: set[tuple[str, ...]] = set()
    for name in classes:
        if loose_images(place / name):
            return ()
        folder = inner(place / name, LAYOUT)
        inside.add(tuple(folders_inside(folder)))
    if len(classes) < 2 or len(inside) > 1 or len(same := next(iter(inside))) < 2:
        return ()
    return (
        f"All classes in {place.name} hold the same folders ({some_of(same, 3)}): if those are the "
        f"classes and {some_of(classes, 3)} are domains, read it with the source domain_folder.",
    )
