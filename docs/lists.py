"""Write the lists of objectives and properties into the pages that show them.

    python docs/lists.py

A list stands between ``<!-- NAME: … -->`` and ``<!-- end -->``; its words are those of the
plug-ins themselves.
"""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

from kdpipe.audit.compose import NEEDS
from kdpipe.distill import objectives
from kdpipe.probes import probes
from kdpipe.results import words

REPOSITORY = Path(__file__).parents[1]
PAGES = ("README.md", "docs/audit.md")


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


LISTS = {
    "objectives": listed_objectives,
    "properties": listed_properties,
    "audited properties": audited_properties,
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
