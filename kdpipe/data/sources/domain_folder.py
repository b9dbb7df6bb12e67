"""Data sets whose domains are different images, in the layout of DomainBed."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from pydantic import Field

from kdpipe.base.errors import KdpipeError
from kdpipe.base.options import Options
from kdpipe.data.sources.base import Listing, sources
from kdpipe.data.sources.shared.files import (
    Aside,
    FileSource,
    folders_in,
    folders_inside,
    grouped_classes,
    loose_images,
    numbered,
)
from kdpipe.data.sources.shared.layout import inner, parts_in, tested

LAYOUT = "DOMAIN/CLASS/NAME.jpg"


class DomainFolderOptions(Options):
    path: str = Field(description="Folder that holds a folder for each domain, under data.root.")


@sources.register("domain_folder")
class DomainFolder(FileSource):
    """Gulrajani & Lopez-Paz 2021. A study names the domains as the folders are called, and each
    is split by itself, class by class, unless all have folders for the parts of a split.

    A single folder between (amazon/images/CLASS of Office-31) is gone through.
    """

    Options = DomainFolderOptions

    @cached_property
    def _listing(self) -> Listing:
        layout, aside = f"{self.base.name}/{LAYOUT}", Aside(self.base)
        place = inner(self.base, layout, levels=2)
        folders: dict[str, tuple[str, str]] = {}
        for domain in folders_in(place, layout):
            if not folders_inside(place / domain) and not loose_images(place / domain):
                aside.folders.append(place / domain)  # lists of files, for instance
                continue
            where, parts = parts_in(place / domain, layout, aside)
            for part, split in tested(parts or {"": ""}).items():
                inside = inner(where / part, layout)
                folders[inside.relative_to(self.base).as_posix()] = domain, split
        if not folders:
            raise KdpipeError(f"The folders in {place} hold no image; expected are files {layout}.")
        if len(kinds := {bool(split) for _, split in folders.values()}) > 1:
            domain = next(domain for domain, split in folders.values() if not split)
            raise KdpipeError(
                f"Some domains in {place} have folders for train and test images, but '{domain}' "
                f"has none; give all of them such folders, or none."
            )
        names, refs, of_class, where_of = grouped_classes(self.base, list(folders), layout, aside)
        domains = np.array([folders[where][0] for where in where_of])
        splits = np.array([folders[where][1] for where in where_of])
        return Listing(
            refs,
            numbered(names, of_class),
            names,
            splits=splits if kinds == {True} else None,
            domains=domains,
            notes=aside.notes(),
        )
