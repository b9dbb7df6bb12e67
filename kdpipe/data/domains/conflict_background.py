"""Cue conflict: the background colour of another class, drawn uniformly from the others."""

from __future__ import annotations

import numpy as np

from kdpipe.base.seeding import uniforms
from kdpipe.data.domains.base import Batch, Domain, domains, on_background
from kdpipe.data.domains.shared.hues import class_colours


@domains.register("conflict_background")
class ConflictBackground(Domain):
    """Shape says ``label``, background says ``cue``, and they never agree."""

    def render(self, batch: Batch) -> np.ndarray:
        wobble = uniforms(self.seed, batch.ids, 1)[:, 0]
        colours = class_colours(self.cues(batch), batch.n_classes, wobble)
        return on_background(batch.pixels, colours)

    def cues(self, batch: Batch) -> np.ndarray:
        which = uniforms(self.seed, batch.ids, 2)[:, 1]
        step = 1 + (which * (batch.n_classes - 1)).astype(batch.labels.dtype)
        return (batch.labels + step) % batch.n_classes
