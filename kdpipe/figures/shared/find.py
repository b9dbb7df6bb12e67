"""Figures by name: those with a file of their own, and those that a property has by default."""

from __future__ import annotations

from collections.abc import Collection

from kdpipe.figures.base import Figure, figures
from kdpipe.figures.shared.property import PropertyFigure
from kdpipe.figures.shared.views import ENDING, ViewsFigure
from kdpipe.probes import probes


def find_figure(name: str) -> Figure:
    """The figure called ``name``. Raises KdpipeError where there is none."""
    if name in figures:
        return figures.get(name)()
    probe = name.removesuffix(ENDING)
    if probe not in probes:
        return figures.get(name)()
    return PropertyFigure(probe) if probe == name else ViewsFigure(probe)


def figures_of(probe: str) -> list[str]:
    """Names of the figures that a property has for certain."""
    about = probes.get(probe)
    views = [f"{probe}{ENDING}"] if about.preview else []
    return [about.figure or probe, *views]


def figure_names(measured: Collection[str], has: Collection[str] = ()) -> list[str]:
    """Figures that have something to show where these properties are ``measured``, sorted.

    ``has``: what else the study has, see ``Figure.needs``.
    """
    own = {name for probe in measured for name in figures_of(probe)}
    for name in figures.names():
        drawn = figures.get(name)
        fits = not drawn.probes or set(drawn.probes) & set(measured)
        if fits and set(drawn.needs) <= set(has):
            own.add(name)
    return sorted(own)
