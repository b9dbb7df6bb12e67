"""VLCS: photographs of five classes from four older data sets."""

from __future__ import annotations

from pydantic import Field

from kdpipe.data.sources.base import sources
from kdpipe.data.sources.domain_folder import DomainFolder, DomainFolderOptions


class VLCSOptions(DomainFolderOptions):
    path: str = Field(
        "VLCS",
        description="Folder that holds Caltech101, LabelMe, SUN09 and VOC2007, under data.root.",
    )


@sources.register("vlcs")
class VLCS(DomainFolder):
    """Fang et al. 2013, 10,729 images, as DomainBed unpacks them."""

    Options = VLCSOptions
    usual_classes = 5
    usual_images = 10_729
    usual_domains = 4
