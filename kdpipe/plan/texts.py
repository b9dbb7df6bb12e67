"""Which parts of a syntax tree are texts that only people read.

In doubt an expression is no text: the cost is a needless rerun after an edit, not a wrong result.
"""

from __future__ import annotations

import ast
import re

ERRORS = re.compile(r"[A-Z]\w*(Error|Exception|Warning)")
_LOGS = re.compile(r"_?(log|logger|logging)", re.IGNORECASE)
_LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}
# Calls that only format a printed line; any other call may do something.
_HARMLESS = {
    *("abs", "all", "any", "bool", "dict", "float", "format", "int", "len", "list", "max", "min"),
    *("range", "repr", "reversed", "round", "set", "sorted", "str", "sum", "tuple", "type", "zip"),
    *("capitalize", "count", "endswith", "get", "index", "item", "items", "join", "keys", "lower"),
    *("lstrip", "partition", "removeprefix", "removesuffix", "replace", "rpartition", "rstrip"),
    *("split", "splitlines", "startswith", "strip", "tolist", "upper", "values"),
}


def bound_names(node: ast.AST) -> set[str]:
    """Names that a node binds by other means than an import."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    if isinstance(node, ast.arg):
        return {node.arg}
    if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
        return {node.id}
    if isinstance(node, ast.Global | ast.Nonlocal):
        return set(node.names)
    if isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
        return {node.name}
    if isinstance(node, ast.MatchMapping) and node.rest:
        return {node.rest}
    return set()


def told_names(function: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    """Local names that always are texts and are read in errors and printed lines alone."""
    nodes = list(ast.walk(function))
    texts = [n for n in nodes if isinstance(n, ast.Assign) and assigned(n) and is_text(n.value)]
    found = {assigned(n) for n in texts}
    if not found:
        return found
    calls = [n for n in nodes if isinstance(n, ast.Call)]
    calls = [n for n in calls if ERRORS.fullmatch(last_name(n.func)) or prints(n)]
    told = [a for call in calls for a in call.args if is_text(a) or isinstance(a, ast.Name)]
    safe = {id(inner) for argument in told for inner in ast.walk(argument)}
    safe.update(id(target) for n in texts for target in n.targets)
    for node in nodes:
        if isinstance(node, ast.Name) and id(node) not in safe:
            found.discard(node.id)
        elif not isinstance(node, ast.Name):
            found -= bound_names(node)
    return found


def is_string(node: ast.stmt) -> bool:
    """Whether a statement is a bare string, which does nothing."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def only_says(node: ast.stmt) -> bool:
    """Whether a statement prints or logs texts and does nothing else."""
    if not isinstance(node, ast.Expr) or not isinstance(node.value, ast.Call):
        return False
    call = node.value
    if not prints(call) or last_name(call.func) == "exit":
        return False
    return all(is_text(a) for a in call.args) and not any(map(acts, _inside(call)))


def _inside(call: ast.Call) -> list[ast.AST]:
    return [node for argument in call.args for node in ast.walk(argument)]


def is_text(node: ast.AST | None) -> bool:
    """Whether an expression is a text for certain: a string, or something made of one."""
    if isinstance(node, ast.Constant):
        return isinstance(node.value, str)
    if isinstance(node, ast.JoinedStr):
        return True
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Mod | ast.Mult):
        return is_text(node.left) or is_text(node.right)
    if isinstance(node, ast.IfExp):
        return is_text(node.body) and is_text(node.orelse)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return node.func.attr in ("join", "format") and is_text(node.func.value)
    return False


def says(node: ast.stmt) -> bool:
    """Whether an attribute is given a text, or values that nothing is computed for. A field of a
    model or a dataclass has a type, and may be read by other means than its name: it has to be a
    text."""
    if isinstance(node, ast.Assign):
        return _is_written_out(node.value)
    return isinstance(node, ast.AnnAssign) and is_text(node.value)


def _is_written_out(node: ast.AST | None) -> bool:
    """Whether nothing is computed for a value: texts, numbers, containers and objects of them."""
    if isinstance(node, ast.Constant) or is_text(node):
        return True
    if isinstance(node, ast.UnaryOp):
        return _is_written_out(node.operand)
    if isinstance(node, ast.List | ast.Tuple | ast.Set):
        return all(map(_is_written_out, node.elts))
    if isinstance(node, ast.Dict):
        return all(map(_is_written_out, [*node.keys, *node.values]))
    if isinstance(node, ast.Call) and last_name(node.func)[:1].isupper():
        return all(map(_is_written_out, [*node.args, *(k.value for k in node.keywords)]))
    return False


def is_sentence(node: ast.AST) -> bool:
    """Whether a text has more than one word, so that it is no key."""
    texts = (n.value for n in ast.walk(node) if isinstance(n, ast.Constant))
    return is_text(node) and any(isinstance(t, str) and " " in t.strip() for t in texts)


def acts(node: ast.AST) -> bool:
    """Whether a part of a printed line may do more than put it into words."""
    if isinstance(node, ast.Call):
        return last_name(node.func) not in _HARMLESS
    return isinstance(node, ast.NamedExpr | ast.Await | ast.Yield | ast.YieldFrom)


def prints(node: ast.Call) -> bool:
    """Whether a call only says something: on the terminal, in a log, as a warning."""
    name = last_name(node.func)
    owner = last_name(node.func.value) if isinstance(node.func, ast.Attribute) else ""
    if name == "print" and owner in ("", "rich", "console"):
        files = [k.value for k in node.keywords if k.arg == "file"]
        return all(ast.unparse(f) in ("sys.stdout", "sys.stderr") for f in files)
    if name in ("echo", "secho"):
        return owner == "typer" and all(k.arg != "file" for k in node.keywords)
    if name in ("warn", "exit"):
        return owner == ("warnings" if name == "warn" else "sys")
    return name in _LEVELS and bool(_LOGS.fullmatch(owner))


def last_name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def assigned(node: ast.stmt) -> str:
    """The one name that a statement gives a value, or ''."""
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return node.target.id
    if isinstance(node, ast.Assign) and len(node.targets) == 1:
        return node.targets[0].id if isinstance(node.targets[0], ast.Name) else ""
    return ""
