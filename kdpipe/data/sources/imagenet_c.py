"""ImageNet-C: the validation images of ImageNet under fifteen and more corruptions."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from pydantic import Field

from kdpipe.data.sources.base import Listing, sources
from kdpipe.data.sources.shared.corrupted import CorruptedSetOptions, chosen, wanted
from kdpipe.data.sources.shared.files import (
    Aside,
    FileSource,
    folders_in,
    grouped_classes,
    numbered,
)

LAYOUT = "CORRUPTION/SEVERITY/CLASS/NAME.JPEG, such as fog/3/n01440764/NAME.JPEG"


class ImageNetCOptions(CorruptedSetOptions):
    path: str = Field("imagenet-c", description="Folder of the corruptions, under data.root.")
    images: int | None = Field(
        None,
        ge=1,
        description="Photographs of a class, the same ones under every corruption; null for all.",
    )


@sources.register("imagenet_c")
class ImageNetC(FileSource):
    """Hendrycks & Dietterich 2019, as it is unpacked: 224 × 224 pixels, classes by WordNet id. All
    are for testing; sets in the same layout (Tiny ImageNet-C) are read as well.

    The group of an image is its corruption and severity, such as ``fog-3``.
    """

    Options = ImageNetCOptions

    @cached_property
    def _listing(self) -> Listing:
        names = wanted(self.options, folders_in(self.base, LAYOUT), str(self.base))
        folders = [f"{name}/{s}" for name in names for s in self.options.severities]
        classes, refs, of_class, where = grouped_classes(
            self.base, folders, LAYOUT, aside := Aside(self.base)
        )
        keep = self._kept(refs, of_class, where)
        return Listing(
            refs=[refs[k] for k in keep],
            labels=numbered(classes, of_class)[keep],
            class_names=classes,
            groups=np.array([folder.replace("/", "-") for folder in where])[keep],
            splits=np.full(len(keep), "test"),
            notes=aside.notes(),
        )

    def _kept(self, refs: list[str], of_class: list[str], where: list[str]) -> np.ndarray:
        """Rows of the photographs to use."""
        photos = [ref[len(folder) + 1 :] for ref, folder in zip(refs, where, strict=True)]
        names: dict[str, list[str]] = {}
        for photo, label in sorted(set(zip(photos, of_class, strict=True))):
            names.setdefault(label, []).append(photo)
        some = {
            own[k] for own in names.values() for k in chosen(len(own), self.options.images).tolist()
        }
        return np.flatnonzero([photo in some for photo in photos])
