"""CIFAR-10 from the files that torchvision keeps."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from pydantic import Field

from kdpipe.base.errors import KdpipeError, PassingError
from kdpipe.base.options import Options
from kdpipe.data.sources.base import Listing, Source, sources


class CIFAR10Options(Options):
    path: str = Field(
        "cifar10", description="Folder that holds cifar-10-batches-py, under data.root."
    )
    download: bool = Field(False, description="Download what is missing, through torchvision.")


@sources.register("cifar10")
class CIFAR10(Source):
    """Krizhevsky 2009: 50,000 images for training and 10,000 for testing, 32×32.

    The files are pickles, which can hold any code: torchvision compares their digests with those
    of the original before it opens them.
    """

    Options = CIFAR10Options
    usual_classes = 10
    usual_images = 60_000
    torchvision_name = "CIFAR10"

    @cached_property
    def _parts(self) -> dict[str, Any]:
        """torchvision's data sets by split."""
        from torchvision import datasets

        cls = getattr(datasets, self.torchvision_name)
        root = self.folder(self.options.path)
        download = self.options.download
        try:
            return {
                part: cls(str(root), train=part == "train", download=download)
                for part in ("train", "test")
            }
        except (OSError, RuntimeError) as error:
            if download:
                raise PassingError(
                    f"{self.torchvision_name} could not be downloaded to {root}: {error}."
                ) from None
            state = (
                "are not those of the original"
                if (root / cls.base_folder).is_dir()
                else ("do not exist")
            )
            raise KdpipeError(
                f"The files in {root / cls.base_folder} {state}; expected is what torchvision "
                f"unpacks from {cls.filename}, or the option download."
            ) from None

    @cached_property
    def _listing(self) -> Listing:
        parts = self._parts
        sizes = {part: len(data.data) for part, data in parts.items()}
        return Listing(
            refs=[f"{part}/{i}" for part, n in sizes.items() for i in range(n)],
            labels=np.concatenate([np.asarray(data.targets) for data in parts.values()]),
            class_names=list(parts["train"].classes),
            splits=np.repeat(list(sizes), list(sizes.values())),
        )

    def listing(self) -> Listing:
        return self._listing

    def decode(self, rows: np.ndarray) -> list[np.ndarray]:
        train, test = (self._parts[part].data for part in ("train", "test"))
        return [train[r] if r < len(train) else test[r - len(train)] for r in rows]
