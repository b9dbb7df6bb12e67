"""A digest of the code a job runs: the reason to rerun it when that code changes.

Covers the import closure of the job's stage module and of exactly the plug-ins its settings name,
over what syntax.py leaves of each file: comments, docstrings, layout, words for people, and the
names and places of modules do not count. Nothing is imported to find out.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path

from kdpipe.plan.syntax import NOTHING, skeleton

_FILE_NAME = re.compile(r"[\w-]+\.\w+")
ROUNDS = 4
"""Modules with the same text count as different if their imports differ up to this depth."""


@dataclass(frozen=True)
class Module:
    """A module, read from its file."""

    imports: tuple[str, ...]
    """Modules of the same package that it imports, anywhere in the file."""
    digest: str
    """Of what it does, without the names of modules."""
    empty: bool = False
    """Whether it does nothing, as the file of many a package."""
    imported: tuple[tuple[str, str], ...] = ()
    """Statement and module of each import."""
    used: tuple[str, ...] = ()
    """The modules behind names and strings, in the order of their places."""
    words: dict[str, str] = field(default_factory=dict)
    """Digests of the words that count for some jobs only, by their kind."""
    reads: frozenset[str] = frozenset()
    """The kinds of such words that this module may read."""


@cache
def code_digest(modules: tuple[str, ...]) -> str:
    """SHA-256 over every module that ``modules`` import within their own packages.

    Each counts by what it does and by what the modules do that it refers to, never by a name.
    """
    found = {name: module(name) for name in closure(modules)}
    read = sorted({kind for one in found.values() for kind in one.reads})
    labels = {
        name: _sha([one.digest, *(one.words.get(kind, "") for kind in read)])
        for name, one in found.items()
    }
    for _ in range(ROUNDS):
        labels = {
            name: _sha(
                [
                    labels[name],
                    *sorted(f"{line} {labels.get(target, '')}" for line, target in one.imported),
                    "used",
                    *(labels.get(target, "") for target in one.used),
                ]
            )
            for name, one in found.items()
        }
    roots = sorted({labels[name] for name in modules})
    return _sha([*roots, "with", *sorted({labels[n] for n in found if not found[n].empty})])[:16]


def _sha(parts: Iterable[str]) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def module_digests(modules: Iterable[str]) -> dict[str, str]:
    """The digest of every module in the closure of ``modules``, sorted by name."""
    found = {name: module(name) for name in sorted(closure(modules))}
    read = sorted({kind for one in found.values() for kind in one.reads})
    return {
        name: _sha([one.digest, *(one.words.get(kind, "") for kind in read)])
        for name, one in found.items()
    }


def closure(modules: Iterable[str]) -> set[str]:
    """``modules`` and everything they import, directly or not, from their top-level packages."""
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        waiting.extend(module(name).imports)
        # Importing a module runs its package's __init__ as well; the top-level one holds the
        # version, whose change is no reason to train again.
        parent = name.rpartition(".")[0]
        if "." in parent:
            waiting.append(parent)
    return found


@cache
def module(name: str) -> Module:
    """Read the file of a module. Raises ModuleNotFoundError when it has none."""
    path = _location(name)
    if path is None:
        raise ModuleNotFoundError(f"no source file for module {name}")
    nodes = list(ast.walk(ast.parse(path.read_bytes(), str(path))))
    texts = {n.value for n in nodes if isinstance(n, ast.Constant)}
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    made = skeleton(nodes, package, partial(_own, name.partition(".")[0]))
    parts = [made.text]
    # A data file (a template, a table) counts for a module when it lies in the same folder and
    # the module holds its name as a string.
    for word in sorted(t for t in texts if isinstance(t, str) and _FILE_NAME.fullmatch(t)):
        data = path.parent / word
        if data.is_file() and data.suffix != ".py":
            parts += [word, hashlib.sha256(data.read_bytes()).hexdigest()]
    return Module(
        imports=tuple(sorted({target for _, target in made.imported})),
        digest=_sha(parts),
        empty=made.text == f"[{NOTHING}]",
        imported=tuple(made.imported),
        used=tuple(made.used),
        words={kind: _sha(found) for kind, found in made.words.items()},
        reads=frozenset(made.reads),
    )


def _own(top: str, name: str) -> str | None:
    """``name`` if it is a module of the package ``top`` with a file."""
    return name if name.partition(".")[0] == top and _location(name) is not None else None


@cache
def _location(module: str) -> Path | None:
    """The file of a module, found without importing anything but its top-level package."""
    top, _, rest = module.partition(".")
    spec = importlib.util.find_spec(top)
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin)
    if rest:
        path = path.parent.joinpath(*rest.split("."))
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return path if path.is_file() else None
