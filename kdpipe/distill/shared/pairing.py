"""Which layer of the student is compared with which of the teacher."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from kdpipe.base.errors import KdpipeError
from kdpipe.distill.shared.connector import Shape, by

NEAR = math.sqrt(2)
"""Resolutions that differ by at most this factor count as one: 28 and 26, 7 and 8."""
Shapes = Mapping[str, Shape]


def paired(
    who: str,
    layers: Sequence[str],
    others: Sequence[str],
    student: Shapes,
    teacher: Shapes,
    fewest: int = 1,
) -> list[tuple[str, str]]:
    """Pairs of layers of student and teacher, from input to output.

    ``layers`` and ``others``: those that a study names, of student and teacher; of an empty list,
    those of ``student`` or ``teacher`` (shapes of layers, from input to output, without the batch)
    that have more than one place. A layer that is named always gets a partner.

    By resolution: from the last layer back, each gets the teacher's last free one of the nearest
    resolution, if that is at most √2 times higher or lower. Where that gives fewer pairs than
    ``fewest``, or only one of the networks changes its resolution (a CNN and a vision transformer),
    by depth: the last two, the last but one, and so on. Raises KdpipeError, as ``who``, where there
    are fewer pairs all the same.
    """
    if layers and others and len(layers) >= fewest:
        return list(zip(layers, others, strict=True))
    sides = [
        {name: _side(shapes[name]) for name in named or shapes if named or _places(shapes[name])}
        for named, shapes in ((layers, student), (others, teacher))
    ]
    own, theirs = sides
    found = [] if _flat(own) != _flat(theirs) else _by_resolution(own, theirs)
    least = max(len(layers), len(others), fewest)
    if len(found) < least:
        found = list(zip(reversed(own), reversed(theirs), strict=False))[::-1]
    if len(found) >= least:
        return found
    raise KdpipeError(
        f"{who}: it needs {least} pair{'s' if least > 1 else ''} of layers, and finds "
        f"{_listed(student, own)} in the student and {_listed(teacher, theirs)} in the teacher; "
        f"name them with layers and teacher_layers."
    )


def _by_resolution(own: dict[str, float], theirs: dict[str, float]) -> list[tuple[str, str]]:
    free, found = list(theirs), []
    for name, side in reversed(own.items()):
        far = {other: abs(math.log(side / theirs[other])) for other in reversed(free)}
        other = min(far, key=lambda o: far[o], default=None)
        if other is not None and far[other] <= math.log(NEAR) + 1e-9:
            found.append((name, other))
            free.remove(other)
    return found[::-1]


def _places(shape: Shape) -> bool:
    """Whether there is more than one place."""
    return _side(shape) > 1


def _side(shape: Shape) -> float:
    """Height of a square with as many places: of maps, or of tokens; 1 of a vector."""
    return {2: shape[0], 3: math.prod(shape[1:])}.get(len(shape), 1) ** 0.5


def _flat(sides: dict[str, float]) -> bool:
    """Whether several layers have one resolution, as those of a vision transformer."""
    return len(sides) > 1 and len(set(sides.values())) == 1


def _listed(shapes: Shapes, chosen: Mapping[str, float]) -> str:
    names = (f"'{name}' ({by(shapes[name])})" for name in chosen)
    return ", ".join(names) or "no layer with more than one place"
