"""Images in one folder a class, with or without folders for train, val and test."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np
from pydantic import Field

from kdpipe.data.sources._files import (
    FileSource,
    class_folders,
    folders_in,
    grouped_classes,
    numbered,
)
from kdpipe.data.sources.base import Listing, sources
from kdpipe.options import Options

LAYOUT = "CLASS/NAME.jpg, or train/CLASS/NAME.jpg with folders val and test beside train"
PARTS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


class ImageFolderOptions(Options):
    path: str = Field(description="Folder of the images, under data.root.")


def listing_of(base: Path, parts: dict[str, str], layout: str) -> Listing:
    """Images of ``base/FOLDER/CLASS/``; ``parts`` maps each FOLDER to its split.

    All parts have the same classes. Where there is a val part and no test part, it is the test
    part: that is what a validation set without a public test set is used as.
    """
    if "test" not in parts.values():
        parts = {folder: "test" if p == "val" else p for folder, p in parts.items()}
    names, refs, of_class, of_folder = grouped_classes(base, list(parts), f"{base.name}/{layout}")
    splits = np.array([parts[folder] for folder in of_folder])
    return Listing(refs, numbered(names, of_class), names, splits=splits)


@sources.register("image_folder")
class ImageFolder(FileSource):
    """The layout of torchvision's ImageFolder; the class is the name of the folder.

    If all folders inside are called train, val (or valid, validation) or test, they are the
    source's own split; else they are the classes.
    """

    Options = ImageFolderOptions

    @cached_property
    def _listing(self) -> Listing:
        folders = folders_in(self.base, LAYOUT)
        if set(folders) <= set(PARTS):
            order = [name for name in PARTS if name in folders]
            return listing_of(self.base, {name: PARTS[name] for name in order}, LAYOUT)
        found = class_folders(self.base, LAYOUT)
        of_each = [name for name, files in found.items() for _ in files]
        refs = [file for files in found.values() for file in files]
        return Listing(refs, numbered(list(found), of_each), list(found))
