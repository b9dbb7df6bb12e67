"""In words: what is different between two settings, two sets of files, two lists of versions."""

from __future__ import annotations

from typing import Any

# Steps of a path through the settings that say nothing to a person.
SILENT = {"options", "probe", "instances"}
LONGEST_VALUE = 60


def settings(old: Any, new: Any) -> list[str]:
    """A sentence for each option that changed: ``colour: `hue` changed from 0.1 to 0.3``.

    Where all are the same, the mappings whose order changed are named.
    """
    found = [_sentence(path, a, b) for path, a, b in _differences(old, new, ())]
    turned = [] if found else [f"`{name}`" for name in dict.fromkeys(_turned(old, new, "settings"))]
    return found + ([f"the order of {', '.join(turned)} changed"] if turned else [])


def _turned(old: Any, new: Any, name: str) -> list[str]:
    """Names of the mappings that hold the same in another order."""
    if isinstance(old, dict):
        own = [] if list(old) == list(new) else [name]
        return own + [found for key in old for found in _turned(old[key], new[key], str(key))]
    if isinstance(old, list):
        return [found for a, b in zip(old, new, strict=True) for found in _turned(a, b, name)]
    return []


class _Missing:
    """Stands for an option that one of the two does not have."""


MISSING = _Missing()


def _differences(old: Any, new: Any, path: tuple[str, ...]) -> list[tuple[Any, ...]]:
    old, new = _by_name(old), _by_name(new)
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            found
            for key in dict.fromkeys([*old, *new])
            for found in _differences(old.get(key, MISSING), new.get(key, MISSING), (*path, key))
        ]
    return [] if old == new else [(path, old, new)]


def _by_name(value: Any) -> Any:
    """A list of named things as a mapping, so that each is compared with its namesake."""
    if not isinstance(value, list) or not all(isinstance(v, dict) and "name" in v for v in value):
        return value
    named = {v["name"]: v for v in value}
    return named if len(named) == len(value) and value else value


def _sentence(path: tuple[str, ...], old: Any, new: Any) -> str:
    *above, last = [step for step in path if step not in SILENT] or list(path) or ["settings"]
    option = f"{': '.join(['.'.join(above), ''])}`{last}`" if above else f"`{last}`"
    if old is MISSING:
        return f"{option} is new" if isinstance(new, dict) else f"{option} is new ({_word(new)})"
    if new is MISSING:
        return f"{option} is gone"
    return f"{option} changed from {_word(old)} to {_word(new)}"


def _word(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 2]} …"


def files(old: dict[str, str], new: dict[str, str]) -> list[str]:
    """A sentence for each module that changed, came or went; the arguments are module: digest."""
    sentences = [
        f"{_file(name)} changed"
        for name in sorted(old.keys() & new.keys())
        if old[name] != new[name]
    ]
    # What was added or left out shows in a file that changed, which says more.
    if sentences:
        return sentences
    sentences += [f"{_file(name)} is used now" for name in sorted(new.keys() - old.keys())]
    sentences += [f"{_file(n)} is no longer used" for n in sorted(old.keys() - new.keys())]
    return sentences


def _file(module: str) -> str:
    return module.replace(".", "/") + ".py"


def versions(old: dict[str, str], new: dict[str, str]) -> list[str]:
    """A sentence for each package whose version differs."""
    return [
        f"{name} was {old.get(name, 'absent')} and is {new.get(name, 'absent')}"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]
