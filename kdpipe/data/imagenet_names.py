"""The 1000 classes of ImageNet-1k by WordNet id and by name."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

# wordnet_id,name in the order of the ids; the names are those of torchvision's weights.
FILE = Path(__file__).with_name("imagenet_classes.csv")
WORDNET_ID = re.compile(r"(n\d{8})(?:[-_ ].*)?")


@cache
def names() -> dict[str, str]:
    """Name by WordNet id, in the order in which published networks count the classes."""
    with FILE.open(encoding="utf-8", newline="") as file:
        return {row["wordnet_id"]: row["name"] for row in csv.DictReader(file)}


@cache
def _ids() -> dict[str, str]:
    return {name: wordnet_id for wordnet_id, name in names().items()}


def _first(name: str) -> str:
    return name.partition(",")[0].strip().replace("_", " ")


def wordnet_ids(classes: Sequence[str]) -> list[str | None]:
    """WordNet id of each class; None for one that is not of ImageNet.

    A class is written as its id (``n02102040``, also with more behind it, as in
    ``n02102040-English_springer``) or as its name (``English springer``, ``English_springer``,
    also with further names behind it, as in ``tench, Tinca tinca``).
    """
    found: list[str | None] = []
    for name in classes:
        told = WORDNET_ID.fullmatch(name)
        wordnet_id = told[1] if told else _ids().get(_first(name))
        found.append(wordnet_id if wordnet_id in names() else None)
    return found


MOST = 0.95
"""Share of ImageNet's classes whose names everybody agrees on; "crane" is two of them."""


def counted_as_imagenet(classes: Sequence[str]) -> bool:
    """Whether these are the 1000 classes of ImageNet in their usual order."""
    ids = list(names())
    if len(classes) != len(ids):
        return False
    agreed = sum(a == b for a, b in zip(wordnet_ids(classes), ids, strict=True))
    return agreed >= MOST * len(ids)
