"""MNIST-Color of the paper: each image's background in a random colour."""

from __future__ import annotations

from kdpipe.data.domains.base import Batch, Domain, Rendered, domains, on_background
from kdpipe.seeding import uniforms


@domains.register("random_background")
class RandomBackground(Domain):
    """White strokes on a background drawn uniformly from the RGB cube, one colour an image."""

    def render(self, batch: Batch) -> Rendered:
        return Rendered(on_background(batch.pixels, uniforms(self.seed, batch.ids, 3)))
