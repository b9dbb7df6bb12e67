"""Background colours that stand for a class."""

from __future__ import annotations

import colorsys

import numpy as np


def class_colours(classes: np.ndarray, n_classes: int, wobble: np.ndarray) -> np.ndarray:
    """RGB in [0, 1], (n, 3): hues equally spaced over the classes.

    ``wobble`` in [0, 1), (n,), moves the hue within a third of the spacing, so that the colour is
    a class cue and not one constant.
    """
    hues = (classes + (wobble - 0.5) / 3) / n_classes
    return np.array([colorsys.hsv_to_rgb(h % 1.0, 0.8, 0.75) for h in hues], dtype=np.float32)
