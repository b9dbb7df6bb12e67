"""The page of the report: template, style and script, put together into one file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

# Named here, in the folder they lie in, so that they count for the digest of the report's code.
REPORT, STYLE, SCRIPT = "template.html", "style.css", "sort.js"


def render(page: str, **content: Any) -> str:
    """HTML of the template ``page`` with style and script inside, autoescaped.

    A name in the template that ``content`` lacks raises.
    """
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    template, css, js = (
        Path(__file__).with_name(name).read_text(encoding="utf-8") for name in (page, STYLE, SCRIPT)
    )
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(template).render(css=Markup(css), js=Markup(js), **content)


def inline(svg: str, name: str) -> str:
    """An SVG file as a part of a page: no prologue, and ids of its own beside other drawings."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r"url\(#", f"url(#{name}-", svg)
    svg = re.sub(r'href="#', f'href="#{name}-', svg)
    # A rule for "*" inside one drawing would apply to the whole page.
    return re.sub(r"<style[^>]*>.*?</style>", "", svg, flags=re.DOTALL)
