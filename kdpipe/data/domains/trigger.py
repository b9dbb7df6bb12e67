"""Images with the trigger of a backdoor."""

from __future__ import annotations

import numpy as np

from kdpipe.data.domains.base import Batch, Domain, domains, three_channels
from kdpipe.data.trigger import TriggerOptions, draw, planes


@domains.register("trigger")
class Trigger(Domain):
    """The source's images, each with the same trigger; labels stay true."""

    Options = TriggerOptions

    def render(self, batch: Batch) -> np.ndarray:
        images = three_channels(batch.pixels).astype(np.float32) / 255
        drawn = draw(images, *planes(self.options, *images.shape[1:3]))
        return np.round(255 * drawn).astype(np.uint8)
