"""What the columns of a table say of images: classes and groups, as people write them."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from kdpipe.base.errors import KdpipeError, some_of

UNLABELLED = -1
"""What the hub writes where a test set keeps its labels to itself."""

ALL = "all"


def plain(value: Any) -> Any:
    """A value as it is meant: no NaN, no spaces around words, 1.0 (of a column that had nulls) as
    1; None where there is none."""
    if isinstance(value, str):
        return value.strip() or None
    if isinstance(value, float):
        if math.isnan(value):
            return None
        return int(value) if value.is_integer() else value
    return value


def missing(value: Any) -> bool:
    """Whether ``value``, plain, is no label."""
    return value is None or (value == UNLABELLED and not isinstance(value, str))


def named(schema: Any, column: str, where: str) -> list[str] | None:
    """Names of the ClassLabel feature in the metadata that the datasets library writes.

    Raises KdpipeError when two are the same.
    """
    try:
        info = json.loads((schema.metadata or {})[b"huggingface"])
        names = info["info"]["features"][column]["names"]
    except (KeyError, TypeError, ValueError):
        return None
    if not isinstance(names, list) or not names:
        return None
    names = [str(name) for name in names]
    if len(set(names)) < len(names):
        raise KdpipeError(f"The schema of column '{column}' in {where} names a class twice.")
    return names


def _of_names(values: Sequence[Any], names: list[str], column: str, where: str) -> None:
    """Raise KdpipeError for a number that stands for no name."""
    if (most := max(values)) >= len(names):
        raise KdpipeError(
            f"Column '{column}' in {where} has label {most}, but its schema names {len(names)} "
            f"classes."
        )


def classes(
    values: Sequence[Any], names: list[str] | None, column: str, where: str
) -> tuple[np.ndarray, list[str]]:
    """Class numbers (n,) and names. ``values``: plain; ``names``: of the schema, if it has any.

    Raises KdpipeError for values that are not numbers from 0, or words, one kind of them.
    """
    kinds = {type(v) for v in values}
    if kinds not in ({int}, {str}, {bool}) or (kinds == {int} and min(values) < 0):
        raise KdpipeError(
            f"Column '{column}' in {where} has to hold class numbers from 0, or names, one kind "
            f"of them."
        )
    if names is None or kinds != {int}:
        known = sorted(set(values))
        number = {value: i for i, value in enumerate(known)}
        return np.array([number[v] for v in values]), [str(v) for v in known]
    _of_names(values, names, column, where)
    return np.asarray(values, dtype=np.int64), names


def groups(
    values: Sequence[Any], names: list[str] | None, column: str, where: str
) -> tuple[np.ndarray, tuple[str, ...]]:
    """A word for each image, '' for one that belongs to no group; and a sentence on how many do.

    ``values``, ``names``: as for :func:`classes`. Raises KdpipeError where no image belongs to
    any, or words differ in upper and lower case alone.
    """
    numbers = names is not None and all(type(v) is int for v in values if v is not None)
    if numbers and names is not None:
        known = [v for v in values if not missing(v)]
        _of_names([*known, 0], names, column, where)
        values = [None if missing(v) else names[v] for v in values]
    # 'nan' is what pandas makes of a missing word.
    words = np.array(["" if v in (None, "nan", "NaN") else str(v) for v in values])
    found = sorted(set(words.tolist()) - {""})
    if not found:
        raise KdpipeError(f"Column '{column}' in {where} has no value; take another for groups.")
    if ALL in found:
        raise KdpipeError(
            f"Column '{column}' in {where}: '{ALL}' is what all images are called together; give "
            f"the group another name."
        )
    spellings: dict[str, list[str]] = {}
    for word in found:
        spellings.setdefault(word.casefold(), []).append(word)
    if several := [words for words in spellings.values() if len(words) > 1]:
        raise KdpipeError(
            f"Column '{column}' in {where} has groups that differ in upper and lower case alone, "
            f"{some_of([repr(word) for word in several[0]])}; write them alike."
        )
    none = int((words == "").sum())
    if not none:
        return words, ()
    return words, (f"{none} of {len(words)} images have no value in '{column}', thus no group.",)


def spelled(value: str, known: Sequence[str]) -> str | None:
    """The one of ``known`` that ``value`` is, but for case, spaces and underscores."""
    plain_words = {_plain_word(word): word for word in known}
    return plain_words.get(_plain_word(value))


def _plain_word(word: str) -> str:
    return " ".join(word.replace("_", " ").split()).casefold()
