"""The 1,797 handwritten digits (8×8) that scikit-learn carries; nothing is downloaded."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from kdpipe.data.sources.base import Listing, Source, sources


@sources.register("digits")
class Digits(Source):
    """UCI optical recognition of handwritten digits, test part (Alpaydin & Kaynak 1998)."""

    @cached_property
    def _data(self) -> tuple[np.ndarray, np.ndarray]:
        from sklearn.datasets import load_digits

        bunch = load_digits()
        # Intensities are counts 0…16 of set pixels in a 4×4 block.
        return np.round(bunch.images * (255 / 16)).astype(np.uint8), bunch.target.astype(np.int64)

    def listing(self) -> Listing:
        _, labels = self._data
        return Listing(
            refs=[f"digits/{i}" for i in range(len(labels))],
            labels=labels,
            class_names=[str(d) for d in range(10)],
        )

    def decode(self, rows: np.ndarray) -> list[np.ndarray]:
        images, _ = self._data
        return [images[r][:, :, None] for r in rows]
