"""``include`` in a study file: files that it overrides, so that studies share parts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from kdpipe.base.errors import KdpipeError

KEY = "include"
MOST_VALUES = 100_000
"""Limit of values in a study file, its aliases expanded; the largest studies here have hundreds."""


def read(path: Path) -> Any:
    """The content of a study file and the files it includes, not validated.

    Raises KdpipeError when a file is missing or is no YAML.
    """
    return resolved(read_yaml(path, "study file"), path.parent, str(path), (path.resolve(),))


def read_yaml(path: Path, what: str = "file", asked: str = "") -> Any:
    """The content of a YAML file as plain data. Raises KdpipeError that names the file.

    ``asked``: the beginning of the sentence if it is missing.
    """
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        count = values(content, {})
    except FileNotFoundError:
        raise KdpipeError(f"{asked}There is no {what} {path}.") from None
    except OSError as error:
        raise KdpipeError(f"{path} cannot be read: {error.strerror}.") from None
    except Exception as error:  # beside YAMLError: of a date that is none, of 10000 brackets, …
        detail = " ".join(str(error).split()) or type(error).__name__
        detail = "it is nested too deeply" if isinstance(error, RecursionError) else detail
        raise KdpipeError(f"{path} is not readable as YAML: {detail}.") from None
    if count > MOST_VALUES:
        raise KdpipeError(
            f"{path}: its aliases (*) stand for more than {MOST_VALUES} values, or contain "
            f"themselves; write out what they stand for."
        )
    return content


def values(tree: Any, known: dict[int, float]) -> float:
    """Number of values in ``tree`` with its aliases expanded; infinite if one contains itself.
    ``known``: counts so far, by identity."""
    if not isinstance(tree, dict | list | tuple | set):
        return 1
    if id(tree) not in known:
        known[id(tree)] = float("inf")  # as long as it is being counted
        inside = [*tree.keys(), *tree.values()] if isinstance(tree, dict) else tree
        known[id(tree)] = 1 + sum(values(value, known) for value in inside)
    return known[id(tree)]


def resolved(raw: Any, folder: Path, where: str, within: tuple[Path, ...] = ()) -> Any:
    """``raw`` merged over the files that its ``include`` names, relative to ``folder``.

    Later files override earlier ones, and ``raw`` overrides all. ``where``: what messages call
    ``raw``; ``within``: the files being read. Raises KdpipeError when a file is unreadable or
    includes itself.
    """
    if not isinstance(raw, Mapping) or KEY not in raw:
        return raw
    names = [raw[KEY]] if isinstance(raw[KEY], str) else raw[KEY]
    if not isinstance(names, list) or not all(isinstance(n, str) and "\0" not in n for n in names):
        raise KdpipeError(f"{where}: include: give a file or a list of files.")
    found: Any = {}
    for name in names:
        path = folder / name
        if path.resolve() in within:
            raise KdpipeError(f"{where}: include: {path} includes itself; take one of them out.")
        part = read_yaml(path, "study file", f"{where}: include: ")
        part = resolved(part, path.parent, str(path), (*within, path.resolve()))
        if not isinstance(part, Mapping):
            raise KdpipeError(f"{path}: a file to include is a mapping with keys of a study.")
        found = laid_over(found, part)
    return laid_over(found, {key: value for key, value in raw.items() if key != KEY})


def laid_over(base: Any, top: Any) -> Any:
    """``top`` merged over ``base``: mappings key by key, other values as a whole."""
    if not isinstance(base, Mapping) or not isinstance(top, Mapping):
        return top
    both = {key: laid_over(base[key], value) for key, value in top.items() if key in base}
    return {**base, **top, **both}


def home(files: Iterable[str | Path]) -> Path:
    """The folder to which ``include`` is relative in a configuration that Snakemake merged from
    ``files``: that of the last file with an ``include``."""
    paths = [Path(file) for file in files]
    for path in reversed(paths):
        raw = read_yaml(path)
        if isinstance(raw, Mapping) and KEY in raw:
            return path.parent
    return Path()
