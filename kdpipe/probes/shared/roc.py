"""How well a score tells two kinds of images apart: points and area of its ROC curve."""

from __future__ import annotations

import numpy as np


def auc(
    members: np.ndarray,
    held_out: np.ndarray,
    drawn: tuple[np.ndarray, np.ndarray] | None = None,
) -> float:
    """P(value of a member < value of an image that is none), ties count half: Mann–Whitney's U/nm.

    Values, such as losses, (n,) and (m,). ``drawn``: rows of a resample of either. 0.5 tells
    nothing, 1 tells every member by its value.
    """
    _, place = np.unique(np.concatenate([members, held_out]), return_inverse=True)
    inside, outside = np.split(place, [len(members)])
    if drawn is not None:
        inside, outside = inside[drawn[0]], outside[drawn[1]]
    size = place.max() + 1
    of_members, of_others = (np.bincount(p, minlength=size) for p in (inside, outside))
    above = len(outside) - np.cumsum(of_others)
    won = of_members @ (above + of_others / 2)
    return float(won / (len(inside) * len(outside)))


def false_positives(known: np.ndarray, unknown: np.ndarray, share: float = 0.95) -> float:
    """Share of ``unknown`` taken for known where at least ``share`` of ``known`` is.

    Scores (n,) and (m,), higher for known images. The threshold is the highest score at which
    so many known images score as high or higher, as the first point of the ROC curve with a true
    positive rate of ``share`` or more, without interpolation.
    """
    falling = np.sort(known)[::-1]
    enough = np.arange(1, len(known) + 1) / len(known) >= share
    return float((unknown >= falling[np.argmax(enough)]).mean())
