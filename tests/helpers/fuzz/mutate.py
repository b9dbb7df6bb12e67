"""Seeded damage: to bytes, to text, to what a YAML file holds."""

from __future__ import annotations

import copy
import random
import struct
from collections.abc import Iterator
from typing import Any

NUMBERS: list[Any] = [
    0, 1, -1, 2, 7, 8, 255, 65536, 2**31, 2**63, -(2**63), 10**30, 10**400, 0.0, -0.0, 0.5, -1.5,
    1e-300, 1e300, float("nan"), float("inf"), float("-inf"), True, False,
]  # fmt: skip
WORDS: list[Any] = [
    "", " ", ".", "..", "../x", "/etc/passwd", "/", "~", "a/b", "a\\b", "a\0b", "a\nb", "é", "名前",
    "\u202egnp", "\ud83d", "x" * 300, "x" * 5000, "nan", "null", "1e999", "{seed}", "{0.__class__}",
    "%s%n", "$(touch harmed)", "__import__('os').system('touch harmed')", "*", "[", "(a+)+$", "-",
    "base", "_files", "os", "kdpipe.cli", "name", "options", "teacher", "ind", "0", "-1", "a=b;c=d",
    "ENOENT", "con", "a|b,c\td", "<script>", "model", "seed0",
]  # fmt: skip
ODD: list[Any] = [None, [], {}, [[]], [None], {"": None}, {"name": {}}, {1: 2}, [{}], {"name": "x"}]


def odd_value(rng: random.Random) -> Any:
    """Anything that YAML can say, more often than not out of place."""
    return copy.deepcopy(rng.choice(rng.choice((NUMBERS, WORDS, ODD))))


def places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) below ``tree``."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for key, value in list(items):
        yield tree, key
        if isinstance(value, dict | list):
            yield from places(value)


def damage_tree(rng: random.Random, tree: Any, donors: list[Any]) -> Any:
    """A copy of ``tree`` with one to four changes; ``donors`` lend their parts."""
    tree = copy.deepcopy(tree)
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 4))):
        found = list(places(tree))
        if not found:
            break
        where, key = rng.choice(found)
        kind = rng.randrange(9)
        if kind <= 2:
            where[key] = odd_value(rng)
        elif kind == 3:
            del where[key]
        elif kind == 4 and isinstance(where, dict):
            new = rng.choice([*WORDS, *NUMBERS[:8], None])
            where[new] = where.pop(key)
        elif kind == 5:
            other, at = rng.choice(list(places(rng.choice(donors))))
            where[key] = copy.deepcopy(other[at])
        elif kind == 6:
            where[key] = [where[key]]
        elif kind == 7 and isinstance(where, dict):
            other, at = rng.choice(list(places(rng.choice(donors))))
            where[at if isinstance(at, str) else "extra"] = copy.deepcopy(other[at])
        elif isinstance(where[key], int | float) and not isinstance(where[key], bool):
            where[key] = rng.choice((-where[key], where[key] * 10**6, where[key] + 0.5))
        elif isinstance(where[key], list) and where[key]:
            where[key] = where[key] * rng.choice((2, 3))
        else:
            where[key] = odd_value(rng)
    return tree


def damage_bytes(rng: random.Random, content: bytes) -> bytes:
    """``content`` cut, flipped, filled, repeated or with other numbers in it."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        n = len(data)
        kind = rng.randrange(9)
        at = rng.randrange(n + 1)
        if kind == 0:
            del data[at:]
        elif kind == 1:
            del data[at : at + rng.randrange(1, 64)]
        elif kind == 2 and n:
            data[rng.randrange(n)] ^= 1 << rng.randrange(8)
        elif kind == 3:
            data[at : at + 4] = struct.pack("<I", rng.choice((0, 1, 2**16, 2**31 - 1, 2**32 - 1)))
        elif kind == 4:
            data[at : at + 4] = struct.pack(">I", rng.choice((0, 1, 2**16, 2**31 - 1, 2**32 - 1)))
        elif kind == 5:
            data[at : at + rng.randrange(1, 32)] = bytes([rng.choice((0, 255))]) * 16
        elif kind == 6:
            data[at:at] = data[max(0, at - 40) : at]
        elif kind == 7:
            data[at:at] = rng.randbytes(rng.randrange(1, 20))
        elif n:
            # Sizes and types stand near the beginning and near the end.
            data[rng.choice((rng.randrange(min(n, 64)), n - 1 - rng.randrange(min(n, 64))))] = (
                rng.randrange(256)
            )
    return bytes(data)


def damage_lines(rng: random.Random, text: str) -> str:
    """``text`` with lines doubled, lost, joined, exchanged or with something in them."""
    lines = text.split("\n")
    for _ in range(rng.choice((1, 1, 2, 3))):
        if not lines:
            break
        at = rng.randrange(len(lines))
        kind = rng.randrange(8)
        if kind == 0:
            lines.insert(at, lines[at])
        elif kind == 1:
            del lines[at]
        elif kind == 2:
            lines[at] = (
                rng.choice((" ", "\t", "- ", "? ", "&a ", "*a ", "!!python/none ", '"'))
                + (lines[at])
            )
        elif kind == 3:
            lines[at] += rng.choice((":", " #", ",", '"', "\r", "\0", " : x", " *a", "\ufeff"))
        elif kind == 4:
            other = rng.randrange(len(lines))
            lines[at], lines[other] = lines[other], lines[at]
        elif kind == 5:
            lines[at] = str(odd_value(rng))
        elif kind == 6:
            parts = lines[at].split(",")
            parts[rng.randrange(len(parts))] = str(odd_value(rng))
            lines[at] = ",".join(parts)
        else:
            cut = rng.randrange(len(lines[at]) + 1)
            lines[at] = lines[at][:cut]
    return "\n".join(lines)
