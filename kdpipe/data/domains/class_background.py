"""Digits whose background colour predicts the class: a shortcut a student can learn."""

from __future__ import annotations

import numpy as np

from kdpipe.base.seeding import uniforms
from kdpipe.data.domains.base import Batch, Domain, domains, on_background
from kdpipe.data.domains.shared.hues import class_colours


@domains.register("class_background")
class ClassBackground(Domain):
    """Shape and background colour agree; the cue is the label."""

    def render(self, batch: Batch) -> np.ndarray:
        wobble = uniforms(self.seed, batch.ids, 1)[:, 0]
        colours = class_colours(batch.labels, batch.n_classes, wobble)
        return on_background(batch.pixels, colours)

    def cues(self, batch: Batch) -> np.ndarray:
        return batch.labels.copy()
