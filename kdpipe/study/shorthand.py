"""Expands abbreviations and inherited keys of a study before validation."""

from __future__ import annotations

from typing import Any

from kdpipe.study.published import filled_in
from kdpipe.training.presets import expand


def named(raw: Any, field: str, key: str) -> Any:
    """Add the plug-in's name to entries that are named after it: ``kl: {temperature: 4}``."""
    if not isinstance(raw, dict) or not isinstance(raw.get(field), dict):
        return raw
    filled = {}
    for name, value in raw[field].items():
        value = {} if value is None else value
        filled[name] = {key: name, **value} if isinstance(value, dict) else value
    return {**raw, field: filled}


def methods(raw: Any) -> Any:
    """Write out the methods of a pair: the name of the objective where the entry has it
    (``kl: {}``), a sum where it has ``terms``, and the options of its recipe."""
    if not isinstance(raw, dict) or not isinstance(raw.get("methods"), dict):
        return raw
    given = {
        name: {"objective": "sum", **entry}
        if isinstance(entry, dict) and "terms" in entry
        else entry
        for name, entry in raw["methods"].items()
    }
    raw = named({**raw, "methods": given}, "methods", "objective")
    filled = {}
    for name, entry in raw["methods"].items():
        try:
            filled[name] = filled_in(entry)
        except ValueError as error:
            raise ValueError(f"methods.{name}.{error}") from None
    return {**raw, "methods": filled}


def over(base: Any, entry: Any, where: str) -> Any:
    """``entry`` with its ``training`` merged over ``base`` and its named recipe expanded. A recipe
    that ``entry`` itself names replaces ``base``."""
    if not isinstance(entry, dict) or not isinstance(base, dict):
        return entry
    own = entry.get("training") or {}
    if not isinstance(own, dict):
        return entry
    try:
        training = expand(own if "recipe" in own else {**base, **own})
    except ValueError as error:
        raise ValueError(f"{where}.training.{error}") from None
    return {**entry, "training": training}


def training_of(models: dict[Any, Any], pair: Any) -> Any:
    student = pair.get("student") if isinstance(pair, dict) else None
    model = models.get(student) if isinstance(student, str) else None
    return model.get("training", {}) if isinstance(model, dict) else {}


def for_pairs(raw: Any, key: str) -> Any:
    """Merge each pair's mapping ``key`` over the study's, and remove the study's."""
    if not isinstance(raw, dict) or key not in raw:
        return raw
    shared, pairs = raw[key], raw.get("pairs")
    if not isinstance(shared, dict):
        raise ValueError(f"{key}: give a mapping")
    raw = {name: value for name, value in raw.items() if name != key}
    if isinstance(pairs, dict):
        raw["pairs"] = {
            name: {**pair, key: {**shared, **(pair.get(key) or {})}}
            if isinstance(pair, dict) and isinstance(pair.get(key), dict | None)
            else pair
            for name, pair in pairs.items()
        }
    return raw
