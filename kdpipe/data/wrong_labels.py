"""Wrong labels for a share of the training images: what a network can only learn by heart."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from kdpipe.base.options import Options
from kdpipe.base.seeding import stream, uniforms


class WrongLabels(Options):
    noise: float = Field(
        gt=0, le=1, description="Probability that a training image has the label of another class."
    )
    seed: int = Field(0, description="Draws the images and their wrong labels.")


def with_noise(
    labels: np.ndarray,
    sources: np.ndarray,
    n_classes: int,
    wrong: WrongLabels,
    count: int | None = None,
) -> np.ndarray:
    """Labels (n,) of which a share is wrong, uniform over the other classes.

    ``sources``: number of the source image of each (n,). Whether it is labelled wrongly, and how
    far its label moves, is a function of ``wrong.seed`` and that number alone: every version of an
    image has the same label, whichever images are selected beside it. ``count``: label exactly so
    many wrongly, those that a growing share would take first.
    """
    # In double precision, so that no product rounds up to a whole turn, which is the true label.
    drawn = uniforms(stream("wrong labels", wrong.seed), sources, 2).astype(np.float64)
    moved = 1 + (drawn[:, 1] * (n_classes - 1)).astype(labels.dtype)
    if count is None:
        told = drawn[:, 0] < wrong.noise
    else:
        told = drawn[:, 0].argsort(kind="stable").argsort(kind="stable") < count
    return np.where(told, (labels + moved) % n_classes, labels)
