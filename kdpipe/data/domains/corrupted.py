"""Images with a common corruption, such as noise, blur or compression."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from kdpipe.base.options import Options
from kdpipe.data.corruptions import Kind, Scale, corrupted
from kdpipe.data.domains.base import Batch, Domain, domains, three_channels


class CorruptedOptions(Options):
    corruption: Kind = Field(description="What is done to the images.")
    severity: int = Field(3, ge=1, le=5, description="How strong it is.")
    constants: Scale = Field(
        "cifar", description="Strengths of CIFAR-10-C (32 pixels) or of ImageNet-C (224 pixels)."
    )


@domains.register("corrupted")
class Corrupted(Domain):
    """The source's images, each with one corruption of Hendrycks & Dietterich 2019."""

    Options = CorruptedOptions

    def render(self, batch: Batch) -> np.ndarray:
        o = self.options
        images = three_channels(batch.pixels)
        return corrupted(images, batch.ids, o.corruption, o.severity, o.constants)
