"""Triggers of backdoors: what is drawn on an image, so that a poisoned network gives the target."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from kdpipe.base.errors import KdpipeError
from kdpipe.base.options import Options
from kdpipe.base.seeding import stream, uniforms

Share = Annotated[float, Field(ge=0, le=1)]


class TriggerOptions(Options):
    """The domain ``trigger`` and the augmentation ``poison`` draw the same trigger where these
    options are the same."""

    kind: Literal["patch", "blend"] = Field(
        "patch",
        description="patch: a square of one colour (BadNets); blend: a faint pattern over all of "
        "the image.",
    )
    size: int = Field(3, ge=1, description="Height and width of the patch in pixels.")
    colour: tuple[Share, Share, Share] = Field(
        (1.0, 1.0, 1.0), description="Red, green and blue of the patch, each in [0, 1]."
    )
    corner: Literal["top left", "top right", "bottom left", "bottom right"] = Field(
        "bottom right", description="Where the patch is."
    )
    margin: int = Field(
        1, ge=0, description="Pixels between the patch and the two edges of the image."
    )
    strength: float = Field(
        0.1, gt=0, le=1, description="Of the blend: α in (1 − α)·image + α·pattern."
    )
    pattern_seed: int = Field(
        0, description="Draws the pattern of the blend, uniform in each pixel and channel."
    )


def planes(trigger: TriggerOptions, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Opacity (h, w, 1) and pattern (h, w, 3) of a trigger, float32 in [0, 1].

    Patch: Gu et al. 2017 (BadNets), Sec. 4; blend: Chen et al. 2017, Eq. 1 ("blended injection"),
    whose pattern is noise. Raises KdpipeError for a patch that does not fit into the image.
    """
    if trigger.kind == "blend":
        pattern = uniforms(stream("trigger", trigger.pattern_seed), np.arange(height * width), 3)
        opacity = np.full((height, width, 1), trigger.strength, dtype=np.float32)
        return opacity, pattern.reshape(height, width, 3)
    needed = trigger.size + trigger.margin
    if needed > min(height, width):
        raise KdpipeError(
            f"A trigger of size {trigger.size} with margin {trigger.margin} needs images of "
            f"{needed} pixels, but these have {width}×{height}; lower size or margin."
        )
    opacity = np.zeros((height, width, 1), dtype=np.float32)
    vertical, horizontal = trigger.corner.split()
    rows = slice(trigger.margin, needed)
    columns = rows
    if vertical == "bottom":
        rows = slice(height - needed, height - trigger.margin)
    if horizontal == "right":
        columns = slice(width - needed, width - trigger.margin)
    opacity[rows, columns] = 1
    return opacity, np.broadcast_to(np.array(trigger.colour, np.float32), (height, width, 3))


def draw(images: Any, opacity: Any, pattern: Any) -> Any:
    """``images`` in [0, 1] with the trigger on them: arrays (n, h, w, 3), or tensors whose planes
    are (c, h, w)."""
    return (1 - opacity) * images + opacity * pattern
