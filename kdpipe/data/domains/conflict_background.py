"""Cue conflict: the background colour of another class, drawn uniformly from the others."""

from __future__ import annotations

from kdpipe.data.domains._hues import class_colours
from kdpipe.data.domains.base import Batch, Domain, Rendered, domains, on_background
from kdpipe.seeding import uniforms


@domains.register("conflict_background")
class ConflictBackground(Domain):
    """Shape says ``label``, background says ``cue``, and they never agree."""

    def render(self, batch: Batch) -> Rendered:
        wobble, which = uniforms(self.seed, batch.ids, 2).T
        step = 1 + (which * (batch.n_classes - 1)).astype(batch.labels.dtype)
        cues = (batch.labels + step) % batch.n_classes
        colours = class_colours(cues, batch.n_classes, wobble)
        return Rendered(on_background(batch.pixels, colours), cues=cues)
