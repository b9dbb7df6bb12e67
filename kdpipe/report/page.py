"""The page of the report: template, style and script, put together into one file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

# Named here, in the folder they lie in, so that they count for the digest of the report's code.
TEMPLATE, STYLE, SCRIPT = "template.html", "style.css", "sort.js"


def render(**content: Any) -> str:
    """HTML with style and script inside, autoescaped; an unknown name in the template raises."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    template, css, js = (
        Path(__file__).with_name(name).read_text(encoding="utf-8")
        for name in (TEMPLATE, STYLE, SCRIPT)
    )
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(template).render(css=Markup(css), js=Markup(js), **content)
