"""What a study may leave out or abbreviate, written out before it is validated."""

from __future__ import annotations

from typing import Any

from kdpipe.training.presets import expand


def named(raw: Any, field: str, key: str) -> Any:
    """Let an entry's own name say what it is: ``kl: {temperature: 4}``."""
    if not isinstance(raw, dict) or not isinstance(raw.get(field), dict):
        return raw
    filled = {}
    for name, value in raw[field].items():
        value = {} if value is None else value
        filled[name] = {key: name, **value} if isinstance(value, dict) else value
    return {**raw, field: filled}


def over(base: Any, entry: Any, where: str) -> Any:
    """``entry`` with its ``training`` laid over ``base``, and the recipe that it names written
    out. A recipe that ``entry`` names itself takes the place of all of ``base``."""
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
    """Lay a pair's own mapping ``key`` over that of the study, which the study then lacks."""
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
