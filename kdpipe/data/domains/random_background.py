"""MNIST-Color of the paper: each image's background in a random colour."""

from __future__ import annotations

import numpy as np

from kdpipe.base.seeding import uniforms
from kdpipe.data.domains.base import Batch, Domain, domains, on_background


@domains.register("random_background")
class RandomBackground(Domain):
    """White strokes on a background drawn uniformly from the RGB cube, one colour per image."""

    def render(self, batch: Batch) -> np.ndarray:
        return on_background(batch.pixels, uniforms(self.seed, batch.ids, 3))
