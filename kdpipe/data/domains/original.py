"""The images as the source has them; a single grey channel is repeated to three."""

from __future__ import annotations

from kdpipe.data.domains.base import Batch, Domain, Rendered, domains, three_channels


@domains.register("original")
class Original(Domain):
    """MNIST-orig of the paper: grey digits on black."""

    def render(self, batch: Batch) -> Rendered:
        return Rendered(three_channels(batch.pixels))
