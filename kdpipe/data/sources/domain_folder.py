"""Data sets whose domains are different images, in the layout of DomainBed."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from pydantic import Field

from kdpipe.data.sources._files import FileSource, folders_in, grouped_classes, numbered
from kdpipe.data.sources.base import Listing, sources
from kdpipe.options import Options

LAYOUT = "DOMAIN/CLASS/NAME.jpg"


class DomainFolderOptions(Options):
    path: str = Field(description="Folder that holds a folder for each domain, under data.root.")


@sources.register("domain_folder")
class DomainFolder(FileSource):
    """Gulrajani & Lopez-Paz 2021. A study names the domains as the folders are called, and each
    is split by itself, class by class."""

    Options = DomainFolderOptions

    @cached_property
    def _listing(self) -> Listing:
        layout = f"{self.base.name}/{LAYOUT}"
        folders = folders_in(self.base, layout)
        names, refs, of_class, domains = grouped_classes(self.base, folders, layout)
        return Listing(refs, numbered(names, of_class), names, domains=np.array(domains))
