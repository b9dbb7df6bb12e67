"""Stylized-ImageNet: ImageNet's images in the style of paintings, in the layout of ImageNet."""

from __future__ import annotations

from pydantic import Field

from kdpipe.data.sources.base import sources
from kdpipe.data.sources.imagenet import ImageNet, ImageNetOptions


class StylizedImageNetOptions(ImageNetOptions):
    path: str = Field(
        "stylized-imagenet", description="Folder that holds train and val, under data.root."
    )


@sources.register("stylized_imagenet")
class StylizedImageNet(ImageNet):
    """Geirhos et al. 2019, which everyone makes from ImageNet with their code."""

    Options = StylizedImageNetOptions
