"""What properties, metrics, methods and conditions are called, in figures and report alike.

A probe and an objective say it of themselves; here it is put together with names and numbers. What
says nothing, or is not installed here, is shown under its own name.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from kdpipe.distill import objectives
from kdpipe.probes import probes
from kdpipe.probes.shared.conditions import condition
from kdpipe.probes.shared.conditions import condition_values as condition_values
from kdpipe.probes.shared.description import Described, Metric

FRACTION = Metric("")
"""A share of images that is no metric of a probe, such as the accuracy that a gate finds."""
MINUS = "\N{MINUS SIGN}"
PERCENT = "\N{NO-BREAK SPACE}%"  # a number and its unit stay on one line
KINDS = {False: "The network by itself", True: "Compared with its teacher"}
"""Headings of properties, by whether they are relational."""
CHAPTERS = {
    "errors": "Answers and errors",
    "invariances": "Invariances",
    "robustness": "Robustness",
    "inside": "Inside the networks",
    "fairness": "Fairness and privacy",
    "further": "Further properties",
}
"""Headings of the report, in their order."""


class Property(NamedTuple):
    """Words for a property, from its probe."""

    label: str
    compared: str
    how: str


_ROLES = {
    "teacher": "Teacher",
    "teacher2": "Second teacher",
    "ind": "Independent",
    "untrained": "Untrained",
}
"""Methods that are no objective, in the order in which they stand before the objectives."""

UNITS = {"sample": "images", "triplet": "triplets", "image set": "images"}

_VALUES = {
    ("attacker", "teacher"): "attack on teacher",
    ("attacker", "foreign"): "foreign attack",
    ("logits", "centred"): "centred over classes",
    ("logits", "raw"): "raw",
}
# What a key of a condition is called; empty where the value speaks for itself.
_KEYS = {"domain": "", "teacher_layer": "teacher", "student_layer": "student"}


def described(probe: str) -> type[Described]:
    """What a probe says of itself; nothing where it is not installed here."""
    return probes.get(probe) if probe in probes else Described


def property_words(probe: str) -> Property:
    about = described(probe)
    return Property(about.title or _plain(probe), about.compared, about.how)


def metric_words(probe: str, metric: str) -> Metric:
    """Name and unit of a metric of a probe; one that its probe does not list is a plain number."""
    return described(probe).metrics.get(metric) or Metric(_plain(metric), "")


def metric_of(row: Any) -> Metric:
    """The metric of a row of a table."""
    return metric_words(str(row["probe"]), str(row["metric"]))


def method_words(method: str) -> str:
    title = _ROLES.get(method) or (objectives.get(method).title if method in objectives else "")
    return title or method.replace("_", " ")


def method_order(methods: Any) -> list[str]:
    """Teacher, independent, the objectives in their places, then all others by name."""
    roles = list(_ROLES)

    def place(method: str) -> tuple[int, str]:
        if method in roles:
            return roles.index(method) - len(roles), method
        return objectives.get(method).place if method in objectives else Described.place, method

    return sorted(set(methods), key=place)


def property_order(found: Any) -> list[str]:
    """Properties in their places, then by name."""
    return sorted(set(found), key=lambda probe: (described(probe).place, probe))


def chapters(found: Any) -> dict[str, list[str]]:
    """Properties in their places by the heading of their chapter. Chapters that only a plug-in
    knows stand by name before the further properties."""
    made: dict[str, list[str]] = {}
    for probe in property_order(found):
        made.setdefault(described(probe).chapter, []).append(probe)
    known = list(CHAPTERS)
    last = len(known) - 1
    place = {c: known.index(c) if c in known else last - 0.5 for c in made}
    said: dict[str, list[str]] = {}
    for chapter in sorted(made, key=lambda c: (place[c], c)):
        said.setdefault(CHAPTERS.get(chapter) or _plain(chapter), []).extend(made[chapter])
    return said


def condition_words(condition: str, *, named: bool = False) -> str:
    """A condition in a few words.

    A key is left out where its value speaks for itself; domains are ``named`` as such in
    sentences, where a pair or a property may have the same name.
    """
    if "=" not in condition:
        return condition
    keys = {**_KEYS, "domain": "domain"} if named else _KEYS
    return ", ".join(
        _VALUES.get((key, value)) or f"{keys.get(key, _plain(key).lower())} {value}".strip()
        for key, value in condition_values(condition).items()
        if value
    )


def apart(conditions: list[str]) -> tuple[dict[str, str], str]:
    """What tells conditions apart, by condition, and what they share, both as conditions."""
    parsed = {c: condition_values(c) for c in conditions}
    if len(parsed) < 2 or not all(parsed.values()):
        return {c: c for c in conditions}, ""
    first = next(iter(parsed.values()))
    same = {k for k, v in first.items() if all(p.get(k) == v for p in parsed.values())}

    def text(values: dict[str, str], shared: bool) -> str:
        return condition(**{k: v for k, v in values.items() if (k in same) == shared})

    return {c: text(p, False) for c, p in parsed.items()}, text(first, True)


def units(n: float | None, unit: str = "") -> str:
    """How many units a value rests on, as ``n = 16 triplets``.

    ``n`` is None or NaN for a value that belongs to a network and to no images.
    """
    if n is None or not math.isfinite(n):
        return "one value a network"
    return f"n = {n:.0f} {unit}".rstrip()


def number(value: float, metric: Metric, *, signed: bool = False, unit: bool = True) -> str:
    """A value of ``metric``: percent for fractions, three decimals for everything else.

    ``signed`` is for differences, which are percentage points where the metric is a fraction.
    """
    if value is None or not math.isfinite(value):
        return "–"
    percent = metric.unit == "%"
    sign = "+" if signed else ""
    rounded = (round(100 * value, 1) if percent else round(value, 3)) + 0.0  # no negative zero
    text = f"{rounded:{sign}.{1 if percent else 3}f}"
    suffix = ("\N{NO-BREAK SPACE}pp" if signed else PERCENT) if percent and unit else ""
    return text.replace("-", MINUS) + suffix


def amount(value: float, metric: Metric) -> str:
    """A size without a sign: percentage points where the metric is a fraction."""
    return number(abs(value), metric, signed=True).removeprefix("+")


def interval(low: float, high: float, metric: Metric, *, signed: bool = False) -> str:
    if not (math.isfinite(low) and math.isfinite(high)):
        return "[unbounded]"
    ends = (number(x, metric, signed=signed, unit=False) for x in (low, high))
    return "[" + ", ".join(ends) + "]"


def share(value: float) -> str:
    """Part of a gap that was closed, as whole percent."""
    if value is None or not math.isfinite(value):
        return "–"
    if abs(value) >= 10:
        return f"< {MINUS}999{PERCENT}" if value < 0 else f"> 999{PERCENT}"
    return (f"{100 * value:.0f}".replace("-", MINUS) if round(100 * value) else "0") + PERCENT


def share_interval(low: float, high: float) -> str:
    if not (math.isfinite(low) and math.isfinite(high)):
        return "[unbounded]"
    return f"[{share(low).removesuffix(PERCENT)}, {share(high).removesuffix(PERCENT)}]"


def p_words(p: float) -> str:
    if p is None or not math.isfinite(p):
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _plain(name: str) -> str:
    words = name.replace("_", " ")
    return words[:1].upper() + words[1:]
