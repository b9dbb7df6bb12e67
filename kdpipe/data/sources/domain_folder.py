"""Data sets whose domains are different images, in the layout of DomainBed."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from pydantic import Field

from kdpipe.data.sources._files import FileSource, class_folders, folders_in, numbered
from kdpipe.data.sources.base import Listing, sources
from kdpipe.errors import KdpipeError
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
        refs: list[str] = []
        of_each: list[str] = []
        domains: list[str] = []
        names: list[str] = []
        for domain in (folders := folders_in(self.base, f"{self.base.name}/{LAYOUT}")):
            found = class_folders(self.base / domain, f"{self.base.name}/{LAYOUT}")
            names = names or list(found)
            if odd := set(names) ^ set(found):
                raise KdpipeError(
                    f"The folders {self.base / folders[0]} and {self.base / domain} differ in "
                    f"their classes: '{min(odd)}' is in one of them only."
                )
            for name, files in found.items():
                refs += [f"{domain}/{file}" for file in files]
                of_each += [name] * len(files)
                domains += [domain] * len(files)
        return Listing(refs, numbered(names, of_each), names, domains=np.array(domains))
