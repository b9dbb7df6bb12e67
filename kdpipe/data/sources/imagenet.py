"""ImageNet-1k in torchvision's layout: train/WNID and val/WNID."""

from __future__ import annotations

from functools import cached_property
from typing import Literal

from pydantic import Field

from kdpipe.base.options import Options
from kdpipe.data.sources.base import Listing, sources
from kdpipe.data.sources.image_folder import listing_of
from kdpipe.data.sources.shared.files import Aside, FileSource

LAYOUT = "train/n01440764/NAME.JPEG and val/n01440764/NAME.JPEG, a folder for each WordNet id"


class ImageNetOptions(Options):
    path: str = Field("imagenet", description="Folder that holds train and val, under data.root.")
    parts: list[Literal["train", "val"]] = Field(
        ["train", "val"],
        min_length=1,
        description="Folders to use; [val] for an audit of networks that are trained already.",
    )


@sources.register("imagenet")
class ImageNet(FileSource):
    """Russakovsky et al. 2015. The images of val are for testing.

    Classes are WordNet ids in their usual, sorted order: names are ambiguous (two classes are
    called 'crane').
    """

    Options = ImageNetOptions
    usual_classes = 1000

    @property
    def usual_images(self) -> int:  # type: ignore[override]
        return sum({"train": 1_281_167, "val": 50_000}[part] for part in self.options.parts)

    @cached_property
    def _listing(self) -> Listing:
        parts = {part: part for part in ("train", "val") if part in self.options.parts}
        return listing_of(self.base, parts, f"{self.base.name}/{LAYOUT}", Aside(self.base))
