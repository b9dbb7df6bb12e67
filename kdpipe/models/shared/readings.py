"""Find a normalisation or channel order that fits a network far better than the given one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import comb

import numpy as np
import torch
from torch import Tensor

from kdpipe.models.base import Network
from kdpipe.models.shared.normalisation import NORMALISATIONS, PIXELS, listed

DISTINCT = ("imagenet", "mnist", "half", "none")
"""The usual normalisations that differ enough to change answers of a network."""
READINGS = len(DISTINCT) + 4
"""Forward passes of :func:`another_reading`: the present reading, two of pixels in 0…255, BGR."""
BETTER = 0.1
"""Another reading is reported if it is right on this share of the images more, …"""
CHANCE = 5e-3
"""… and if chance makes such a difference at most this often (exact McNemar test)."""
TIE = 0.05
"""A reading is as good as the best if chance makes their difference more often than this."""
BGR = "with blue as the first channel (BGR)"
GIVE = (
    "if it was trained so, or normalises once more by itself as torchvision's GoogLeNet and "
    "Inception do (transform_input), give these as weights.mean and weights.std"
)
GIVE_BGR = "if it was trained so, give weights.channels: bgr"


def another_reading(network: Network, images: Tensor, labels: np.ndarray) -> str:
    """A sentence about a usual normalisation or channel order with which ``network`` is right far
    more often; empty if there is none.

    ``images`` (n, 3, h, w) in [0, 1] with their ``labels`` (n,). Every other reading is compared
    with the present one image by image.
    """
    now = _right(network, images, labels)
    tried = []
    for name, mean, std in _readings():
        with _normalised(network, mean, std):
            right = _right(network, images, labels)
        tried.append((right, f"normalised with mean {listed(mean)} and std {listed(std)}{name}"))
    tried.append((_right(network, images.flip(1), labels), BGR))
    most = max((right for right, _ in tried), key=np.sum)
    # Of those as good as the best, the most usual one.
    best, words = next((r, w) for r, w in tried if _p_value(*_changed(r, most)) > TIE)
    gained, lost = _changed(now, best)
    if gained - lost < BETTER * len(labels) or _p_value(gained, lost) > CHANCE:
        return ""
    return (
        f"with its images {words} it is right on {best.mean():.0%} of {len(labels)} images, as it "
        f"is read now on {now.mean():.0%}; {GIVE_BGR if words == BGR else GIVE}"
    )


def _readings() -> Iterator[tuple[str, list[float], list[float]]]:
    for name in DISTINCT:
        yield f" ({name})", *NORMALISATIONS[name]
    yield " (pixels in 0…255)", [0.0] * 3, [1 / PIXELS] * 3
    mean = NORMALISATIONS["imagenet"][0]
    yield " (pixels in 0…255 less ImageNet's mean)", mean, [1 / PIXELS] * 3


@contextmanager
def _normalised(network: Network, mean: list[float], std: list[float]) -> Iterator[None]:
    kept = network.mean.clone(), network.std.clone()
    try:
        network.mean.copy_(torch.tensor(mean).view(1, 3, 1, 1))
        network.std.copy_(torch.tensor(std).view(1, 3, 1, 1))
        yield
    finally:
        network.mean.copy_(kept[0])
        network.std.copy_(kept[1])


@torch.no_grad()
def _right(network: Network, images: Tensor, labels: np.ndarray) -> np.ndarray:
    return network(images).float().cpu().argmax(1).numpy() == labels


def _changed(one: np.ndarray, other: np.ndarray) -> tuple[int, int]:
    """Numbers of images that only ``other`` has right, and that only ``one`` has right."""
    return int((other & ~one).sum()), int((one & ~other).sum())


def _p_value(gained: int, lost: int) -> float:
    """Probability of at least ``gained`` heads in gained + lost tosses of a fair coin."""
    n = gained + lost
    return sum(comb(n, k) for k in range(gained, n + 1)) / 2**n
