"""MNIST-M of the paper: the digit blended into a random patch of a photograph."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from pydantic import Field

from kdpipe.base.errors import KdpipeError
from kdpipe.base.options import Options
from kdpipe.base.seeding import uniforms
from kdpipe.data.domains.base import Batch, Domain, domains, three_channels
from kdpipe.data.domains.shared import photographs as _photographs

# Left to right, the part of every photograph that each split takes its patches from, where there
# are too few photographs to give each split its own. Splits never see the same pixels.
REGIONS = {"train": (0.0, 0.6), "val": (0.6, 0.75), "test": (0.75, 1.0)}
WHOLE = (0.0, 1.0)


class PhotoBlendOptions(Options):
    photographs: str = Field(
        "sklearn",
        description="'sklearn' for the two photographs that scikit-learn carries, or a folder of "
        "photographs below data.root: each belongs to one split, by its folder (train, val, test) "
        "if there are such, else by its name.",
    )


@domains.register("photo_blend")
class PhotoBlend(Domain):
    """|digit − patch| per channel, the blending of Ganin & Lempitsky (2015)."""

    Options = PhotoBlendOptions

    def render(self, batch: Batch) -> np.ndarray:
        photographs, (low, high) = self._photographs(batch.split)
        n, height, width, _ = batch.pixels.shape
        draws = uniforms(self.seed, batch.ids, 3)
        patches = np.empty((n, height, width, 3), dtype=np.uint8)
        for i, (which, down, across) in enumerate(draws.tolist()):
            photo = photographs[int(which * len(photographs))]
            first, last = int(np.ceil(low * photo.shape[1])), int(high * photo.shape[1]) - width
            if last < first or photo.shape[0] < height:
                raise KdpipeError(
                    f"A photograph of {photo.shape[1]}×{photo.shape[0]} pixels is too small to "
                    f"cut {width}×{height} patches for the {batch.split} split from it."
                )
            top = int(down * (photo.shape[0] - height + 1))
            left = first + int(across * (last - first + 1))
            patches[i] = photo[top : top + height, left : left + width]
        digit = three_channels(batch.pixels)
        return np.maximum(digit, patches) - np.minimum(digit, patches)

    def _photographs(self, split: str) -> tuple[list[np.ndarray], tuple[float, float]]:
        """Photographs of a split, and the range across them from which its patches come."""
        if self.options.photographs == "sklearn":
            return self._shared, REGIONS[split]
        if split not in self._own:
            folder = _photographs.folder(self.root, self.options.photographs)
            self._own[split] = _photographs.of_split(folder, split)
        return self._own[split], WHOLE

    @cached_property
    def _shared(self) -> list[np.ndarray]:
        from sklearn.datasets import load_sample_images

        return list(load_sample_images().images)

    @cached_property
    def _own(self) -> dict[str, list[np.ndarray]]:
        """Photographs by split, read on first use."""
        return {}
