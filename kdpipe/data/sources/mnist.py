"""MNIST from the IDX files that torchvision keeps."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from pydantic import Field

from kdpipe.base.errors import KdpipeError, PassingError
from kdpipe.base.options import Options
from kdpipe.data.sources.base import Listing, Source, sources

PARTS = {"train": "train", "test": "t10k"}


class MNISTOptions(Options):
    path: str = Field("mnist", description="Folder that holds MNIST/raw, under data.root.")
    download: bool = Field(False, description="Download what is missing, through torchvision.")


@sources.register("mnist")
class MNIST(Source):
    """LeCun et al. 1998: 60,000 digits for training and 10,000 for testing, 28×28.

    Files lie where ``torchvision.datasets.MNIST(path)`` has them, compressed or not.
    """

    Options = MNISTOptions
    usual_classes = 10
    usual_images = 70_000

    @cached_property
    def _data(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Images uint8 (n, 28, 28) and labels (n,) of each part."""
        raw = self.folder(self.options.path) / "MNIST" / "raw"
        if self.options.download and not raw.is_dir():
            self._download()
        data = {}
        for part, prefix in PARTS.items():
            images = _idx(raw / f"{prefix}-images-idx3-ubyte", 3)
            labels = _idx(raw / f"{prefix}-labels-idx1-ubyte", 1)
            if len(images) != len(labels):
                raise KdpipeError(
                    f"{raw} has {len(images)} {part} images but {len(labels)} labels; get the "
                    f"files of MNIST again."
                )
            data[part] = images, labels.astype(np.int64)
        return data

    def _download(self) -> None:
        from torchvision import datasets

        root = self.folder(self.options.path)
        try:
            datasets.MNIST(str(root), download=True)
        except (OSError, RuntimeError) as error:
            raise PassingError(f"MNIST could not be downloaded to {root}: {error}.") from None

    @cached_property
    def _listing(self) -> Listing:
        sizes = {part: len(labels) for part, (_, labels) in self._data.items()}
        labels = np.concatenate([labels for _, labels in self._data.values()])
        if len(found := np.unique(labels)) < 10 or found.max() > 9:
            raise KdpipeError(
                f"The labels of MNIST in {self.folder(self.options.path)} are {found.tolist()} "
                f"instead of 0 to 9; get its files again."
            )
        return Listing(
            refs=[f"{part}/{i}" for part, n in sizes.items() for i in range(n)],
            labels=labels,
            class_names=[str(d) for d in range(10)],
            splits=np.repeat(list(sizes), list(sizes.values())),
        )

    def listing(self) -> Listing:
        return self._listing

    def fetch(self, refs: Sequence[str], shorter: int | None = None) -> list[np.ndarray]:
        found = []
        for ref in refs:
            part, number = ref.split("/")
            found.append(self._data[part][0][int(number), :, :, None])
        return found

    def decode(self, rows: np.ndarray) -> list[np.ndarray]:
        return self.fetch([self._listing.refs[r] for r in rows])


def _idx(path: Path, dimensions: int) -> np.ndarray:
    """An array of the IDX format (http://yann.lecun.com/exdb/mnist), from ``path`` or its .gz."""
    packed = path.with_name(f"{path.name}.gz")
    try:
        if path.is_file():
            content = path.read_bytes()
        elif packed.is_file():
            path = packed
            content = gzip.decompress(packed.read_bytes())
        else:
            raise KdpipeError(
                f"The folder {path.parent} has no {path.name} or {packed.name}; expected are the "
                f"four files of MNIST as torchvision keeps them, or the option download."
            )
        # Two zeros, 8 for unsigned bytes, the number of dimensions; then each as four bytes.
        if content[:4] != bytes([0, 0, 8, dimensions]):
            raise ValueError("it does not begin as such a file does")
        shape = np.frombuffer(content, ">u4", dimensions, offset=4)
        return np.frombuffer(content, np.uint8, offset=4 * (1 + dimensions)).reshape(shape)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise KdpipeError(f"{path} is no complete IDX file ({error}); get it again.") from None
