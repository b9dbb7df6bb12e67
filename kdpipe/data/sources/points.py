"""Points of the unit square or cube as images of one colour: the colour is the point."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from kdpipe.base.options import Options
from kdpipe.base.seeding import stream, uniforms
from kdpipe.data.sources.base import Listing, Source, sources


class PointsOptions(Options):
    dimensions: Literal[2, 3] = Field(2, description="Of the points; an unused channel is 0.5.")
    train: int = Field(256, ge=1, description="Training points; a smaller set is part of a larger.")
    val: int = Field(64, ge=1, description="Validation points.")
    test: int = Field(256, ge=1, description="Test points.")
    rule: Literal["linear", "wave"] = Field("linear", description="What labels the points.")
    classes: int = Field(2, ge=2, description="Of the linear rule; the wave parts two.")
    amplitude: float = Field(0.25, ge=0, le=0.5, description="Height of the wave.")
    periods: float = Field(1.0, gt=0, description="Of the wave, from left to right.")
    halves: bool = Field(False, description="Domains left and right instead of all points in one.")
    seed: int = Field(0, description="Draws the points.")

    @model_validator(mode="after")
    def _plane(self) -> PointsOptions:
        if self.rule == "wave" and (self.dimensions, self.classes) != (2, 2):
            raise ValueError(
                "rule: a wave parts a square into two; give dimensions 2 and classes 2"
            )
        return self


def directions(classes: int, dimensions: int) -> np.ndarray:
    """Unit vectors (classes, dimensions), evenly apart.

    On the circle at equal angles, on the sphere along a spiral of golden angles (Vogel 1979).
    """
    k = np.arange(classes)
    if dimensions == 2:
        angle = 2 * np.pi * (k + 0.5) / classes
        return np.stack([np.cos(angle), np.sin(angle)], axis=1)
    height = 1 - (2 * k + 1) / classes
    angle, radius = np.pi * (3 - np.sqrt(5)) * k, np.sqrt(1 - height**2)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), height], axis=1)


def linear(points: np.ndarray, options: PointsOptions) -> np.ndarray:
    """Class of the direction that a point, seen from the middle, is nearest to."""
    return ((points - 0.5) @ directions(options.classes, options.dimensions).T).argmax(1)


def wave(points: np.ndarray, options: PointsOptions) -> np.ndarray:
    """1 above a sine along the first coordinate, 0 below."""
    height = 0.5 + options.amplitude * np.sin(2 * np.pi * options.periods * points[:, 0])
    return (points[:, 1] > height).astype(np.int64)


RULES: dict[str, Callable[[np.ndarray, PointsOptions], np.ndarray]] = {
    "linear": linear,
    "wave": wave,
}


@sources.register("points")
class Points(Source):
    """Uniform random points; a rule labels them after they were rounded to 8 bits.

    For networks that are a function of the colour: what they do can be written down (a linear
    map) or drawn (a square). Point i of a split depends on the seed, the split and i alone.
    """

    Options = PointsOptions

    @cached_property
    def _drawn(self) -> tuple[np.ndarray, np.ndarray]:
        """Points uint8 (n, dimensions), splits (n,)."""
        o, parts = self.options, []
        sizes = {"train": o.train, "val": o.val, "test": o.test}
        for split, n in sizes.items():
            u = uniforms(stream("points", split, o.seed), np.arange(n), o.dimensions)
            parts.append(np.round(255 * u).astype(np.uint8))
        return np.concatenate(parts), np.repeat(list(sizes), list(sizes.values()))

    def listing(self) -> Listing:
        o = self.options
        pixels, splits = self._drawn
        left = pixels[:, 0] < 128  # the middle of 0…255 is 127.5
        return Listing(
            refs=["points/" + "/".join(map(str, p)) for p in pixels.tolist()],
            labels=RULES[o.rule](pixels / 255, o),
            class_names=[str(k) for k in range(o.classes)],
            splits=splits,
            domains=np.where(left, "left", "right") if o.halves else None,
        )

    def decode(self, rows: np.ndarray) -> list[np.ndarray]:
        """Single pixels (1, 1, 3), which the subset enlarges."""
        points, _ = self._drawn
        pixels = np.full((len(rows), 1, 1, 3), 128, dtype=np.uint8)  # 0.5, to 8 bits
        pixels[..., : self.options.dimensions] = points[rows, None, None]
        return list(pixels)
