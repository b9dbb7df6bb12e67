"""What a probe says of itself to readers: its words, its metrics with their units, its figures.

Report, figures, audit and documentation read it from the probe's class, and nothing else holds it.
None of it counts as code of the jobs that measure (``plan.syntax``): a new word measures nothing
again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Metric:
    """Name and unit of one metric of a property, on axes and in tables.

    ``unit``: ``%`` for fractions, which are shown times 100; empty for plain numbers. ``level``: a
    value that means something by itself (a coin toss), in the metric's own unit, drawn as a dotted
    line. ``panel``: whether the default figure has a panel of it.
    """

    label: str
    unit: str = "%"
    level: float | None = None
    panel: bool = True

    @property
    def scale(self) -> float:
        """What values are multiplied by to be shown in ``unit``."""
        return 100.0 if self.unit == "%" else 1.0


@dataclass(frozen=True)
class Panels:
    """Words of the default figure: a panel a metric, methods side by side over the conditions.

    Empty ones are filled from the probe: its ``title``, and ``how`` for the ``caption``.
    """

    title: str = ""
    x: str = ""
    """What the conditions are, below every panel."""
    caption: str = ""


@dataclass(frozen=True)
class Preview:
    """A further figure, ``<probe>_views``: the pairs of views that a probe keeps as pictures."""

    title: str
    caption: str
    unit: str = ""
    """What follows the strength of a view."""


Need = Literal[
    "unseen domain",
    "groups",
    "cues",
    "linear networks",
    "triggered images",
    "training images",
    "withheld classes",
    "unknown images",
]


class Described:
    """What every property may say of itself. All of it has a default: a probe that says nothing is
    shown under its own name, with every metric that it measured."""

    title: str = ""
    """What it is called, such as ``Colour invariance``."""
    compared: str = "as its probe measures it"
    """What is compared, in a few words after the title, such as ``right answers``."""
    how: str = ""
    """How it is measured, in sentences for the report."""
    metrics: Mapping[str, Metric] = {}
    """By name, in the order of the panels of its figure."""
    panels: Panels = Panels()
    preview: Preview | None = None
    figure: str = ""
    """The figure in ``kdpipe.figures`` that takes the place of the default one; empty for the one
    that is called like the probe, if there is one."""
    chapter: str = "further"
    """The heading of the report that it stands under: ``errors``, ``invariances``, ``robustness``,
    ``inside``, ``fairness`` or ``further``; any other word is a heading of its own."""
    place: int = 1000
    """Where it stands among the properties; those of equal place stand by name."""
    in_paper: Mapping[str, str] = {}
    """By the name of a metric in the paper's tables, the metric that repeats it."""
    audit_needs: Need | None = None
    """What an audit has to be given to measure it, beside networks and their images."""
    audit_options: Mapping[str, Any] = {}
    """Options in an audit, where they differ from the defaults."""
