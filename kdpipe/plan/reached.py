"""How far a study with ``decide`` has come, from the files that its looks left."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from kdpipe.base.errors import KdpipeError
from kdpipe.plan.plan import Plan
from kdpipe.results.settings import look_file
from kdpipe.study.decide import Undecided, next_look
from kdpipe.study.schema import Study


def read(root: Path, number: int) -> Undecided:
    """The pairs and methods that a look gave further seeds.

    Raises KdpipeError where the file is damaged.
    """
    path = root / look_file(number)
    try:
        going_on = json.loads(path.read_text(encoding="utf-8"))["going_on"]
        return frozenset((pair, method) for pair, own in going_on.items() for method in own)
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        raise KdpipeError(f"{path} cannot be read; remove it and run the study again.") from None


def taken(
    study: Study,
    root: Path,
    last: int | None = None,
    needed: Callable[[int], object] = lambda number: None,
) -> tuple[Undecided, ...]:
    """What each look found undecided, as far as there are looks, up to look number ``last``.

    ``needed``: called with the number of each look before its file is read.
    """
    found: list[Undecided] = []
    while (number := next_look(study.decide, found)) is not None:
        if last is not None and number > last:
            break
        needed(number)
        if not (root / look_file(number)).is_file():
            break
        found.append(read(root, number))
    return tuple(found)


def reached(study: Study, root: Path) -> Plan:
    """The jobs of ``study`` that the looks below ``root``, its results, have asked for so far."""
    return Plan(study) if study.decide is None else Plan(study, taken(study, root))
