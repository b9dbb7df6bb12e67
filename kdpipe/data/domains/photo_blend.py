"""MNIST-M of the paper: the digit blended into a random patch of a photograph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydantic import Field

from kdpipe.data.domains.base import Batch, Domain, Rendered, domains, three_channels
from kdpipe.errors import KdpipeError
from kdpipe.options import Options
from kdpipe.seeding import uniforms

# Left to right, the part of every photograph that each split takes its patches from. Splits
# never see the same pixels of a background.
REGIONS = {"train": (0.0, 0.6), "val": (0.6, 0.75), "test": (0.75, 1.0)}


class PhotoBlendOptions(Options):
    photographs: str = Field(
        "sklearn",
        description="'sklearn' for the two photographs that scikit-learn carries, or a folder of "
        "JPEG files below data.root.",
    )


@domains.register("photo_blend")
class PhotoBlend(Domain):
    """|digit − patch| per channel, the blending of Ganin & Lempitsky (2015)."""

    Options = PhotoBlendOptions

    def render(self, batch: Batch) -> Rendered:
        photographs = self._photographs()
        n, height, width, _ = batch.pixels.shape
        low, high = REGIONS[batch.split]
        draws = uniforms(self.seed, batch.ids, 3)
        patches = np.empty((n, height, width, 3), dtype=np.uint8)
        for i, (which, down, across) in enumerate(draws):
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
        digit = three_channels(batch.pixels).astype(np.int16)
        return Rendered(np.abs(digit - patches.astype(np.int16)).astype(np.uint8))

    def _photographs(self) -> list[np.ndarray]:
        where = self.options.photographs
        if where == "sklearn":
            from sklearn.datasets import load_sample_images

            return list(load_sample_images().images)
        from PIL import Image

        folder = Path(self.root or ".") / where
        files = sorted(folder.glob("*.jpg"))
        if not files:
            raise KdpipeError(
                f"There are no .jpg photographs in {folder}; set 'photographs' to a folder of "
                f"them below data.root."
            )
        return [np.asarray(Image.open(f).convert("RGB")) for f in files]
