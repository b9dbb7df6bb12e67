"""A digest of the code a job runs: the reason to rerun it when that code changes.

Covers the import closure of the job's stage module and of exactly the plug-ins its slice names,
over the parsed syntax tree, so that comments, docstrings and formatting do not count. Nothing is
imported to find out.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeGuard

_FILE_NAME = re.compile(r"[\w-]+\.\w+")


@dataclass(frozen=True)
class Module:
    """What a module's file says: modules of the same package that it imports, and its digest."""

    imports: tuple[str, ...]
    digest: str


@cache
def code_digest(modules: tuple[str, ...]) -> str:
    """SHA-256 over every module that ``modules`` import within their own packages."""
    total = hashlib.sha256()
    for name, digest in module_digests(modules).items():
        total.update(f"{name}\0{digest}\n".encode())
    return total.hexdigest()[:16]


def module_digests(modules: Iterable[str]) -> dict[str, str]:
    """The digest of every module in the closure of ``modules``, sorted by name."""
    return {name: module(name).digest for name in sorted(closure(modules))}


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
    tree = ast.parse(path.read_bytes(), str(path))
    nodes = list(ast.walk(tree))
    # The digest comes last, because it takes the docstrings out of the tree.
    return Module(_imports(name, path, nodes), _digest(path, tree, nodes))


def _imports(name: str, path: Path, nodes: list[ast.AST]) -> tuple[str, ...]:
    """Modules of the same top-level package that are imported anywhere in the file."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parent = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parent, base] if base else parent)
            names.add(base)
            names.update(f"{base}.{alias.name}" for alias in node.names)
    top = name.partition(".")[0]
    return tuple(
        sorted(n for n in names if n.partition(".")[0] == top and _location(n) is not None)
    )


def _digest(path: Path, tree: ast.Module, nodes: list[ast.AST]) -> str:
    """SHA-256 of the syntax tree without docstrings, and of the data files that it names.

    A data file (a template, a table) counts for a module when it lies in the same folder and the
    module holds its name as a string.
    """
    texts: set[ast.AST] = set()
    for node in nodes:
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            # Also the strings under attributes; and a body is never left empty.
            texts.update(part.value for part in node.body if _is_text(part))
            node.body = [part for part in node.body if not _is_text(part)] or [ast.Pass()]
    total = hashlib.sha256(ast.dump(tree, include_attributes=False).encode())
    words = {n.value for n in nodes if isinstance(n, ast.Constant) and n not in texts}
    for name in sorted(w for w in words if isinstance(w, str) and _FILE_NAME.fullmatch(w)):
        data = path.parent / name
        if data.is_file() and data.suffix != ".py":
            total.update(f"{name}\0".encode() + data.read_bytes())
    return total.hexdigest()


def _is_text(node: ast.stmt) -> TypeGuard[ast.Expr]:
    """Whether a statement is a bare string, which does nothing."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


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
