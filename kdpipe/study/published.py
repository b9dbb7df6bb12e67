"""Settings of objectives by name: what ``dkd: {recipe: crd_cifar}`` of a study stands for.

``published.csv`` holds one option a line, with its source. It is read when a study is parsed: jobs
get the complete options and do not import this file.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

FILE = Path(__file__).with_name("published.csv")


@dataclass(frozen=True)
class Published:
    """The value of one option in a recipe, and where it was published."""

    recipe: str
    objective: str
    option: str
    value: Any
    source: str


@cache
def published() -> tuple[Published, ...]:
    """Every line of the file, its value as YAML reads it."""
    with open(FILE, encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    return tuple(Published(**{**row, "value": yaml.safe_load(row["value"])}) for row in rows)


def recipes(objective: str) -> dict[str, dict[str, Any]]:
    """The options of an objective in each recipe that has any."""
    found: dict[str, dict[str, Any]] = {}
    for line in published():
        if line.objective == objective:
            found.setdefault(line.recipe, {})[line.option] = line.value
    return found


def filled_in(entry: Any) -> Any:
    """A method of a study, named by ``objective``, with its ``recipe`` written out; what it says
    itself wins. ``terms`` without an objective are a sum, and each term may have a recipe.

    Raises ValueError, listing the names, when there is no such recipe.
    """
    if not isinstance(entry, dict):
        return entry
    if isinstance(entry.get("terms"), list):
        entry = {**entry, "terms": [_term(term) for term in entry["terms"]]}
    if "recipe" not in entry:
        return entry
    known, name = recipes(str(entry.get("objective"))), entry["recipe"]
    if not isinstance(name, str) or name not in known:
        there = f"there are {', '.join(known)}" if known else "there is none"
        raise ValueError(f"recipe: there is no recipe {name!r} of {entry['objective']}; {there}")
    return {**known[name], **{key: value for key, value in entry.items() if key != "recipe"}}


def _term(term: Any) -> Any:
    """A term has no weight of the labels, which are weighed once for all."""
    if isinstance(term, dict) and len(term) == 1 and not {"objective", "name"} & term.keys():
        ((name, options),) = term.items()
        term = {"objective": name, **options} if isinstance(options, dict) else term
    if not isinstance(term, dict) or "recipe" not in term:
        return term
    return {key: v for key, v in filled_in(term).items() if key != "gamma" or key in term}
