"""Colours of cells that say how much of a gap was closed."""

from __future__ import annotations

from typing import Any


def shade(closed: float) -> Any:
    """Colour (r, g, b, a) of a share of a gap: red at −1 and below, white at 0, blue at 1."""
    from matplotlib import colormaps

    # The ends of the map are too dark to read a number on.
    return colormaps["RdBu"](0.5 + 0.4 * max(-1.0, min(1.0, closed)))


def blended(colour: Any, strength: float) -> list[float]:
    """``colour`` on white, as (r, g, b); transparency would fade a hatching too."""
    return [1 - (1 - c) * strength for c in colour[:3]]


def ink(face: list[float]) -> str:
    """Black or white, whichever stands out more from ``face`` (WCAG 2.2, contrast ratio)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in face]
    light = sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True)) + 0.05
    return "white" if 1.05 / light > light / 0.05 else "black"
