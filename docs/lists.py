"""Write the lists of objectives and properties into the pages that show them.

    python docs/lists.py

A list stands between ``<!-- NAME: … -->`` and ``<!-- end -->``; its words are those of the
plug-ins themselves.
"""

from __future__ import annotations

import csv
import json
import re
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kdpipe.audit.compose import NEEDS
from kdpipe.base.plugin import resolve
from kdpipe.distill import objectives
from kdpipe.plan.teacher_outputs import tabulates
from kdpipe.probes import probes
from kdpipe.results import words
from kdpipe.study.published import published, recipes

REPOSITORY = Path(__file__).parents[1]
PAGES = ("README.md", "docs/audit.md", "docs/objectives.md")


def listed_objectives() -> str:
    control = " (a control without a teacher)"
    names = [name for name in words.method_order(objectives.names()) if name != "labels"]
    said = [f"`{n}`{'' if objectives.get(n).uses_teacher else control}" for n in names]
    return _wrapped(f"**Objectives:** {', '.join(said)}.")


def listed_properties() -> str:
    def said(relational: bool) -> str:
        return ", ".join(
            f"`{name}` ({words.property_words(name).compared})"
            for name in words.property_order(_builtin())
            if probes.get(name).relational == relational
        )

    return _wrapped(
        f"**Properties** of a network by itself: {said(False)}; "
        f"compared with its teacher: {said(True)}."
    )


def audited_properties() -> str:
    by_need: dict[str, list[str]] = {}
    for name in words.property_order(_builtin()):
        need = probes.get(name).audit_needs
        said = NEEDS[need].format(name=name) if need else "nothing"
        by_need.setdefault(re.sub(r"--[a-z]+( [\w]+)?", r"`\g<0>`", said), []).append(name)
    rows = [f"| {', '.join(names)} | {need} |" for need, names in by_need.items()]
    return "\n".join(["| property | beside `--data` needs |", "|---|---|", *rows])


def objectives_and_papers() -> str:
    with open(REPOSITORY / "docs" / "objectives.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    head = ["| objective | called | paper | reads | table | weights | libraries |"]
    lines, others = [*head, "|---" * 7 + "|"], []
    for row in rows:
        name, _, option = row["objective"].partition(" ")
        libraries = row["libraries"].replace("; ", ", ") or "–"
        if name not in objectives:
            others += [f"{row['called']} ({row['paper']}; {libraries})"] * (", " in libraries)
            continue
        weights = "" if option else _settings(recipes(name).get("crd_cifar", {}))
        cells = [f"`{name}`{' ' + option if option else ''}", row["called"], row["paper"]]
        cells += [*_reads(name), weights or "–", libraries]
        lines.append(f"| {' | '.join(cells)} |")
    here = [row for row in rows if row["objective"].partition(" ")[0] in objectives]
    shared = sum(";" in row["libraries"] for row in here)
    said = f"{shared} of these {len(here)} are in at least two of the libraries."
    missing = f" In two or more, and not here: {', '.join(others)}." if others else ""
    return "\n".join([*lines, "", _wrapped(said + missing)])


def _reads(name: str) -> list[str]:
    """What an objective reads with its default options, and whether a teacher table serves it."""
    ref = resolve(objectives, name)
    cls, options = ref.cls, ref.options
    if not cls.uses_teacher:
        return ["no teacher", "–"]
    own, theirs = cls.student_layers(options), cls.teacher_layers(options)
    layers = [f"`{layer}`" for layer in dict.fromkeys((*own, *theirs))]
    explained = ["their gradients"] if cls.teacher_gradients(options) else []
    labels = ["labels"] if cls.needs_labels else []
    return [", ".join([*layers, *explained, *labels]) or "–", "yes" if tabulates(ref) else "no"]


def _settings(options: Mapping[str, Any]) -> str:
    shown = (
        (key, str(value).lower() if value is True else value) for key, value in options.items()
    )
    return ", ".join(f"{key} {value}" for key, value in shown)


def published_settings() -> str:
    lines = ["| recipe | objective | option | value | source |", "|---|---|---|---|---|"]
    for one in published():
        named = " | ".join(f"`{word}`" for word in (one.recipe, one.objective, one.option))
        lines.append(f"| {named} | {_value(one.value)} | {one.source} |")
    return "\n".join(lines)


def _value(value: Any) -> str:
    return json.dumps(value) if not isinstance(value, str) else value


LISTS = {
    "objectives": listed_objectives,
    "properties": listed_properties,
    "audited properties": audited_properties,
    "objectives and papers": objectives_and_papers,
    "published settings": published_settings,
}


def in_step(page: str) -> str:
    """The text of a page with its lists as the plug-ins have them now."""
    for name, made in LISTS.items():
        begin, end = f"<!-- {name}: made by `make reference` -->", "<!-- end -->"
        pattern = rf"{re.escape(begin)}.*?{re.escape(end)}"
        text = f"{begin}\n\n{made()}\n\n{end}"
        page = re.sub(pattern, lambda _, text=text: text, page, flags=re.DOTALL)
    return page


def _builtin() -> list[str]:
    return [n for n in probes.names() if probes.module_of(n).startswith(f"{probes.package}.")]


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 104, break_on_hyphens=False)


if __name__ == "__main__":
    for name in PAGES:
        path = REPOSITORY / name
        path.write_text(in_step(path.read_text(encoding="utf-8")), encoding="utf-8")
