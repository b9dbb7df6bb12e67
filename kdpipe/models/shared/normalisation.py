"""Mean and standard deviation that normalise images, and their unit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

# Usual in training scripts: mean and standard deviation per channel, for images in [0, 1].
NORMALISATIONS: dict[str, tuple[list[float], list[float]]] = {
    "imagenet": ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    "cifar10": ([0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]),
    "cifar100": ([0.5071, 0.4865, 0.4409], [0.2673, 0.2564, 0.2762]),
    "mnist": ([0.1307] * 3, [0.3081] * 3),
    "half": ([0.5] * 3, [0.5] * 3),
    "none": ([0.0] * 3, [1.0] * 3),
}
Named = Literal["imagenet", "cifar10", "cifar100", "mnist", "half", "none"]
PIXELS = 255
"""Largest value of a pixel, for networks that take images in 0…255."""
LARGE_STD = 20.0
"""A larger standard deviation is for pixels in 0…255; in [0, 1] it is at most 0.5."""


def in_unit_range(mean: Sequence[float], std: Sequence[float]) -> tuple[list[float], list[float]]:
    """Convert mean and standard deviation per channel to images in [0, 1].

    A mean above 1 must be for pixels in 0…255. (255 x − m) / s = (x − m/255) / (s/255), so dividing
    both by 255 changes only the unit. Raises ValueError when the two have different units.
    """
    pixels = max(mean) > 1
    if not pixels and max(std) > LARGE_STD:
        if any(mean):
            raise ValueError(
                f"mean {listed(mean)} is for images in [0, 1], but std {listed(std)} is for pixels "
                f"in 0…255; give both for [0, 1]"
            )
        pixels = True
    if pixels and max(std) < 1:
        raise ValueError(
            f"mean {listed(mean)} is for pixels in 0…255, but std {listed(std)} is for images in "
            f"[0, 1]; give both for [0, 1]"
        )
    scale = PIXELS if pixels else 1
    return [m / scale for m in mean], [s / scale for s in std]


def listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)
