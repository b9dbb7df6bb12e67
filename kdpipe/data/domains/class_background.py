"""Digits whose background colour predicts the class: a shortcut a student can learn."""

from __future__ import annotations

from kdpipe.data.domains._hues import class_colours
from kdpipe.data.domains.base import Batch, Domain, Rendered, domains, on_background
from kdpipe.seeding import uniforms


@domains.register("class_background")
class ClassBackground(Domain):
    """Shape and background colour agree; the cue is the label."""

    def render(self, batch: Batch) -> Rendered:
        wobble = uniforms(self.seed, batch.ids, 1)[:, 0]
        colours = class_colours(batch.labels, batch.n_classes, wobble)
        return Rendered(on_background(batch.pixels, colours), cues=batch.labels.copy())
