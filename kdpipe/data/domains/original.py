"""The source's images unchanged; a single grey channel is repeated to three."""

from __future__ import annotations

import numpy as np

from kdpipe.data.domains.base import Batch, Domain, domains, three_channels


@domains.register("original")
class Original(Domain):
    """MNIST-orig of the paper: grey digits on black."""

    def render(self, batch: Batch) -> np.ndarray:
        return three_channels(batch.pixels)
