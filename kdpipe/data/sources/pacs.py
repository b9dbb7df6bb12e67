"""PACS: photographs, art paintings, cartoons and sketches of seven classes."""

from __future__ import annotations

from pydantic import Field

from kdpipe.data.sources.base import sources
from kdpipe.data.sources.domain_folder import DomainFolder, DomainFolderOptions


class PACSOptions(DomainFolderOptions):
    path: str = Field(
        "PACS",
        description="Folder that holds art_painting, cartoon, photo and sketch, under data.root.",
    )


@sources.register("pacs")
class PACS(DomainFolder):
    """Li et al. 2017, 9,991 images, as DomainBed unpacks them."""

    Options = PACSOptions
    usual_classes = 7
    usual_images = 9_991
    usual_domains = 4
