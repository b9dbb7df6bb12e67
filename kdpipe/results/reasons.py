"""Why a claim has no gap or no verdict: the texts of the column ``reason`` of ``transfer``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kdpipe.base.chance import Level

EQUIVALENCE = 0.1
"""Less than this share of the gap closed counts as none of it."""
NOT_MEASURABLE = "not measurable"
"""The interval of the gap contains 0, or there is none."""
SMALL = "smaller than min_gap"

ALONE = "no independent student"
AT_CHANCE, NO_VALUE = "at chance", "no value"
"""What a reason begins with where a network is at chance, or a side has no value."""


def at_chance(paths: Sequence[str], levels: Mapping[str, Level]) -> str:
    """``at chance: models/big/seed0 (41 of 400 images right)``, the first of ``paths`` by name."""
    first = levels[paths[0]]
    more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    return f"{AT_CHANCE}: {paths[0]} ({first.correct} of {first.n} images right){more}"


def no_value(sides: Sequence[str], missing: str) -> str:
    """``no value for the teacher: every map is all zero``.

    ``missing``: why a unit may not count, empty where that is not known.
    """
    return f"{NO_VALUE} for {' and '.join(sides)}" + (f": {missing}" if missing else "")
