"""What a module does, without what only people read and without the names of modules.

From the parsed syntax tree. Left out are comments, docstrings and layout; the texts of errors, of
warnings and of printed lines; help and descriptions of options, units and descriptions of columns;
the names under which modules of the same package are imported; and the order of imports. What is
kept decides about reruns, so in doubt a text is kept: a string whose value is used is never a word.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from kdpipe.plan.texts import (
    ERRORS,
    acts,
    assigned,
    bound_names,
    is_sentence,
    is_string,
    is_text,
    last_name,
    only_says,
    prints,
    says,
    told_names,
)

TEXT = "…"
"""Stands for a text that only people read."""
NOTHING = "Pass()"
MODULE = "@"
"""Stands for the name of a module of the same package."""

_DESCRIBED = {
    *("Field", "Table"),
    *("Option", "Argument", "Typer", "command", "callback", "add_argument"),
}
_DESCRIPTIONS = {"description", "help", "short_help", "epilog", "metavar", "rich_help_panel"}
# Class attributes for readers: what a probe or an objective says of itself. They count for a job
# only if code of it reads such a name.
ENTRY = (
    *("title", "compared", "how", "metrics", "panels", "preview", "figure", "caption", "place"),
    *("chapter", "in_paper", "audit_needs", "audit_options"),
)
NAMED_WORDS = {
    **{name: {name} for name in ENTRY},
    "description": {"description", "model_json_schema"},
}

Resolve = Callable[[str], str | None]
"""A dotted name to the module of the same top-level package that it stands for."""


@dataclass
class Skeleton:
    """What is left of a module. Names of modules stand apart, in the order of their places."""

    text: str
    imported: list[tuple[str, str]] = field(default_factory=list)
    """For each import, in any order: the statement without the module's name, and the module."""
    used: list[str] = field(default_factory=list)
    """The modules behind the names and strings that stand for one."""
    words: dict[str, list[str]] = field(default_factory=dict)
    """Texts that count for some jobs only, by a key of NAMED_WORDS."""
    reads: set[str] = field(default_factory=set)
    """Keys of NAMED_WORDS that this module may read."""


def skeleton(nodes: list[ast.AST], package: str, resolve: Resolve) -> Skeleton:
    """Of a module's ``nodes``, the module itself first, all the others in any order.

    ``package``: what relative imports of the module start from.
    """
    return _Writer(nodes, package, resolve).made


class _Writer:
    """Writes a tree as text. Fields that are None or empty are left out, as are line numbers, so
    that the versions of Python agree on what they know."""

    def __init__(self, nodes: list[ast.AST], package: str, resolve: Resolve) -> None:
        self.package = package
        self.resolve = resolve
        self.made = Skeleton("")
        self.aliases = self._module_names(nodes)
        self.special: dict[type, Callable[[Any], str]] = {
            ast.Name: self.name,
            ast.Attribute: self.attribute,
            ast.Constant: self.constant,
            ast.ClassDef: self.class_,
            ast.Assert: self.assertion,
            ast.Raise: self.raising,
            ast.Call: self.calling,
            ast.Assign: self.assignment,
            ast.FunctionDef: self.function,
            ast.AsyncFunctionDef: self.function,
        }
        self.told_names: set[str] = set()
        self.runs = 0
        assert isinstance(nodes[0], ast.Module)
        self.made.text = self.body(nodes[0].body)

    # --- names of modules

    def _module_names(self, nodes: list[ast.AST]) -> dict[str, str]:
        """Names that stand for one module of the package and for nothing else in the file."""
        found: dict[str, set[str]] = {}
        taken: set[str] = set()
        for node in nodes:
            if isinstance(node, ast.Import | ast.ImportFrom):
                for bound, module, attribute in self._imports(node):
                    own = self.resolve(module) if attribute is None and bound else None
                    if own and bound != module.partition(".")[0]:
                        found.setdefault(str(bound), set()).add(own)
                    else:
                        taken.add(bound or module.partition(".")[0])
            else:
                taken.update(bound_names(node))
        return {n: next(iter(m)) for n, m in found.items() if len(m) == 1 and n not in taken}

    def _imports(
        self, node: ast.Import | ast.ImportFrom
    ) -> Iterator[tuple[str | None, str, str | None]]:
        """For each imported thing: the name it is bound to, its module, its name in there."""
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.asname or alias.name.partition(".")[0], alias.name, None
            return
        base = node.module or ""
        if node.level:
            parts = self.package.split(".")
            parent = ".".join(parts[: len(parts) - node.level + 1])
            base = f"{parent}.{base}" if base else parent
        for alias in node.names:
            inside = f"{base}.{alias.name}"
            if self.resolve(inside):
                yield alias.asname or alias.name, inside, None
            else:
                yield alias.asname or alias.name, base, alias.name

    def import_lines(self, nodes: list[ast.stmt]) -> str:
        """Imports that follow one another, in an order that does not depend on names."""
        self.runs += 1
        lines = []
        for node in nodes:
            assert isinstance(node, ast.Import | ast.ImportFrom)
            for bound, module, attribute in self._imports(node):
                own = self.resolve(module)
                line = f"import {MODULE if own else module} {attribute or ''}"
                if not (own and attribute is None and bound in self.aliases):
                    line += f" as {bound}"
                lines.append(line)
                if own:
                    self.made.imported.append((f"{self.runs} {line}", own))
        return "\n".join(sorted(lines))

    # --- statements and expressions

    def body(self, statements: list[ast.stmt]) -> str:
        parts = []
        imports: list[ast.stmt] = []
        for statement in statements:
            if isinstance(statement, ast.Import | ast.ImportFrom):
                imports.append(statement)
                continue
            if imports:
                parts.append(self.import_lines(imports))
                imports = []
            if not is_string(statement) and not only_says(statement):
                parts.append(self.write(statement))
        if imports:
            parts.append(self.import_lines(imports))
        return f"[{';'.join(parts) or NOTHING}]"

    def write(self, node: object) -> str:
        if isinstance(node, list):
            if node and isinstance(node[0], ast.stmt):
                return self.body(node)
            return "[" + ",".join(map(self.write, node)) + "]"
        if node is None:
            return "~"  # not the constant: {**x} is not {None: x}
        if not isinstance(node, ast.AST):
            return repr(node)
        return self.special.get(type(node), self.plain)(node)

    def plain(self, node: ast.AST) -> str:
        parts = []
        for name, value in ast.iter_fields(node):
            if value is None or value == [] or name in ("ctx", "kind", "type_comment"):
                continue
            parts.append(f"{name}={self.write(value)}")
        return f"{type(node).__name__}({','.join(parts)})"

    def name(self, node: ast.Name) -> str:
        if node.id in self.aliases:
            self.made.used.append(self.aliases[node.id])
            return f"Name({MODULE})"
        return f"Name({node.id})"

    def attribute(self, node: ast.Attribute) -> str:
        self._read(node.attr)
        return self.plain(node)

    def constant(self, node: ast.Constant) -> str:
        if isinstance(node.value, str):
            self._read(node.value)
            if "." in node.value and (own := self.resolve(node.value)):
                self.made.used.append(own)
                return f"Module({MODULE})"
        return repr(node.value)

    def _read(self, name: str) -> None:
        self.made.reads.update(kind for kind, names in NAMED_WORDS.items() if name in names)

    def class_(self, node: ast.ClassDef) -> str:
        """A class, what it says of itself set apart."""
        for statement in node.body:
            target = assigned(statement)
            if target in NAMED_WORDS and says(statement):
                value = ast.unparse(statement.value)  # type: ignore[attr-defined]
                self.made.words.setdefault(target, []).append(value)
                statement.value = ast.Constant(TEXT)  # type: ignore[attr-defined]
        return self.plain(node)

    def function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
        outside = self.told_names
        self.told_names = outside | told_names(node)
        written = self.plain(node)
        self.told_names = outside
        return written

    def assignment(self, node: ast.Assign) -> str:
        """A text that is only put into errors and printed lines is one of their words."""
        name = assigned(node)
        return (
            f"Told({name})" if name in self.told_names and is_text(node.value) else self.plain(node)
        )

    def assertion(self, node: ast.Assert) -> str:
        return f"Assert({self.write(node.test)})"

    def raising(self, node: ast.Raise) -> str:
        error = node.exc
        if isinstance(error, ast.Call):
            # In any exception, a sentence among the arguments is for people.
            written = self.call(error, lambda a: self.told(a) if is_sentence(a) else self.write(a))
        else:
            written = self.write(error)
        return f"Raise({written},{self.write(node.cause)})"

    def calling(self, node: ast.Call) -> str:
        return self.call(node, self.write)

    def call(self, node: ast.Call, argument: Callable[[ast.expr], str]) -> str:
        """A call without the words among its arguments."""
        name = last_name(node.func)
        keywords = list(node.keywords)
        if ERRORS.fullmatch(name):
            argument = self.told
        elif prints(node):
            argument = self.said
            keywords = [k for k in keywords if k.arg not in ("sep", "end", "flush")]
        elif name in _DESCRIBED:
            told = [k for k in keywords if k.arg in {*_DESCRIPTIONS, "title"} and is_text(k.value)]
            keywords = [k for k in keywords if k not in told]
            for keyword in told:
                self.made.words.setdefault("description", []).append(ast.unparse(keyword.value))
        args = node.args
        if name == "Column":  # its name and type count, its unit and meaning do not
            args = [a for a in args if a is args[0] or not is_text(a)]
        parts = [self.write(node.func), *map(argument, args), *map(self.write, keywords)]
        return f"Call({','.join(parts)})"

    def told(self, node: ast.expr) -> str:
        """An argument of an error: its text ends the job, so that nothing in it counts."""
        return TEXT if is_text(node) else self.write(node)

    def said(self, node: ast.expr) -> str:
        """An argument of a printed line: what it calls still counts."""
        if not is_text(node):
            return self.write(node)
        calls = [n for n in ast.walk(node) if acts(n)]
        return TEXT + "".join(map(self.write, calls))
