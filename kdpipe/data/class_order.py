"""Orders of classes, and positions of a data set's classes among a network's."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from kdpipe.base.errors import KdpipeError
from kdpipe.data.imagenet_names import wordnet_ids


def by_number(names: Sequence[str]) -> list[str]:
    """Sorted so that 2 comes before 10, as people count and timm sorts folders."""

    def key(name: str) -> list[tuple[bool, int, str]]:
        parts = re.split(r"(\d+)", name.lower())
        return [(not p.isdecimal(), int(p) if p.isdecimal() else 0, p) for p in parts if p]

    return sorted(names, key=key)


def by_text(names: Sequence[str]) -> list[str]:
    """Sorted so that 10 comes before 2, as torchvision's ImageFolder does."""
    return sorted(names)


ORDERS: dict[str, Callable[[Sequence[str]], list[str]]] = {"numbers": by_number, "text": by_text}
"""Orders that ``weights.classes`` can name."""


def positions(own: Sequence[str], wanted: Sequence[str]) -> list[int] | None:
    """Position among a network's ``own`` classes of each class that is ``wanted``.

    Classes are found by name; where names differ, by the WordNet ids of ImageNet's classes, and
    then by names that differ in case, underscores and hyphens, or are one of several with commas.
    None where a class is not among the network's. Raises KdpipeError when it is there twice.
    """
    for found in (_found(own, wanted), _found(wordnet_ids(own), wordnet_ids(wanted))):
        if found is not None:
            return found
    spelled = _spelled(own, wanted)
    return None if None in spelled else [place for place in spelled if place is not None]


def _found(own: Sequence[str | None], wanted: Sequence[str | None]) -> list[int] | None:
    if None in wanted or len(set(wanted)) < len(wanted) or not set(wanted) <= set(own):
        return None
    for name in wanted:
        if own.count(name) > 1:
            raise KdpipeError(
                f"Two outputs of the network are called '{name}', so that nobody can tell which of "
                f"them stands for this class; give each class a name of its own."
            )
    return [own.index(name) for name in wanted]


def _spellings(name: str) -> list[str]:
    """``name`` as a whole, and each of the names that commas separate in it, in one spelling."""
    parts = [name, *name.split(",")]
    return [re.sub(r"(?<=\w)[-_\s]+(?=\w)", " ", part.casefold()).strip(" _") for part in parts]


def _spelled(own: Sequence[str], wanted: Sequence[str]) -> list[int | None]:
    """Position among ``own`` of the one class that each of ``wanted`` is another spelling of; None
    where there is none, or there are several."""
    whole: dict[str, set[int]] = {}
    any_of: dict[str, set[int]] = {}
    for place, name in enumerate(own):
        first, *parts = _spellings(name)
        whole.setdefault(first, set()).add(place)
        for part in parts:
            any_of.setdefault(part, set()).add(place)
    found: list[int | None] = []
    for name in wanted:
        first, *parts = _spellings(name)
        places = whole.get(first) or set().union(*(any_of.get(part, set()) for part in parts))
        found.append(next(iter(places)) if len(places) == 1 else None)
    taken = [place for place in found if place is not None]
    return [None if place is not None and taken.count(place) > 1 else place for place in found]


def lacking(own: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """A network lacks some of the wanted classes."""
    known = set(own)
    ids = {wordnet_id for wordnet_id in wordnet_ids(own) if wordnet_id is not None}
    return [
        name
        for name, wordnet_id, place in zip(
            wanted, wordnet_ids(wanted), _spelled(own, wanted), strict=True
        )
        if name not in known and wordnet_id not in ids and place is None
    ]
