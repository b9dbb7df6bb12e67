"""CIFAR-10-C: the test images of CIFAR-10 under fifteen and more corruptions."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np
from pydantic import Field

from kdpipe.base.errors import KdpipeError
from kdpipe.data.sources.base import Listing, Source, sources
from kdpipe.data.sources.shared.corrupted import CorruptedSetOptions, chosen, wanted

CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
LABELS = "labels.npy"


class CIFAR10COptions(CorruptedSetOptions):
    path: str = Field("CIFAR-10-C", description="Folder of the .npy files, under data.root.")
    images: int | None = Field(
        None,
        ge=1,
        description="Photographs, the same ones under every corruption; null for all 10,000.",
    )


@sources.register("cifar10_c")
class CIFAR10C(Source):
    """Hendrycks & Dietterich 2019: ``NAME.npy`` of 5 × 10,000 images, severity by severity, and
    their ``labels.npy``. All are for testing.

    The group of an image is its corruption and severity, such as ``fog-3``.
    """

    Options = CIFAR10COptions
    usual_classes = 10

    @cached_property
    def _base(self) -> Path:
        return self.folder(self.options.path)

    @cached_property
    def _arrays(self) -> dict[str, np.ndarray]:
        """By name, the images of a corruption, mapped from its file."""
        base, layout = self._base, f"NAME.npy of 50,000 images, and {LABELS}"
        if not (base / LABELS).is_file():
            state = f"has no {LABELS}" if base.is_dir() else "does not exist"
            raise KdpipeError(f"The folder {base} {state}; expected are {layout}.")
        there = [path.stem for path in base.glob("*.npy") if path.name != LABELS]
        names = wanted(self.options, there, str(base))
        return {name: self._opened(base / f"{name}.npy") for name in names}

    def _opened(self, path: Path) -> np.ndarray:
        found = loaded(path)
        n = len(self._labels)
        if found.dtype != np.uint8 or found.ndim != 4 or len(found) != n or found.shape[3] != 3:
            raise KdpipeError(
                f"{path} holds {found.dtype} numbers of the shape {found.shape}; expected are "
                f"uint8 images (n, height, width, 3), as many as {LABELS} has labels ({n})."
            )
        return found

    @cached_property
    def _labels(self) -> np.ndarray:
        """The labels of all severities, one after the other."""
        path = self._base / LABELS
        labels = np.array(loaded(path)).astype(np.int64)
        if labels.ndim != 1 or not len(labels) or len(labels) % 5:
            raise KdpipeError(
                f"{path} has the shape {labels.shape}; expected are labels of five severities, one "
                f"after the other."
            )
        if labels.min() < 0 or labels.max() >= len(CLASSES):
            raise KdpipeError(f"{path} has labels that are not between 0 and {len(CLASSES) - 1}.")
        return labels

    @cached_property
    def _listing(self) -> Listing:
        arrays, each = self._arrays, len(self._labels) // 5
        photos = chosen(each, self.options.images)
        kinds = [(name, s) for name in arrays for s in self.options.severities]
        n = len(photos)
        return Listing(
            refs=[f"{name}/{severity}/{k}" for name, severity in kinds for k in photos],
            labels=np.concatenate([self._labels[(s - 1) * each + photos] for _, s in kinds]),
            class_names=list(CLASSES),
            groups=np.repeat([f"{name}-{severity}" for name, severity in kinds], n),
            splits=np.full(n * len(kinds), "test"),
        )

    def listing(self) -> Listing:
        return self._listing

    def decode(self, rows: np.ndarray) -> list[np.ndarray]:
        each, found = len(self._labels) // 5, []
        for row in rows:
            name, severity, k = self._listing.refs[row].rsplit("/", 2)
            found.append(np.array(self._arrays[name][(int(severity) - 1) * each + int(k)]))
        return found


def loaded(path: Path) -> np.ndarray:
    """The array of a file, mapped. Raises KdpipeError for a file that holds none."""
    try:
        return np.load(path, mmap_mode="r")
    except (OSError, ValueError):
        raise KdpipeError(f"{path} is no NumPy array; fetch the file again.") from None
