"""Write the report of a study: one HTML file that needs nothing else to be read."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from kdpipe.errors import KdpipeError
from kdpipe.figures.base import Tables, figures
from kdpipe.options import Options
from kdpipe.provenance import write_atomically
from kdpipe.report import sentences, values, verdicts, words
from kdpipe.report.page import render


class ReportSlice(Options):
    """What the report says besides what the tables and figures hold."""

    study: str
    title: str
    figures: list[str]
    summary: dict[str, Any] = {}
    """Free facts to list: sizes, seeds, hyper-parameters; mappings may be nested."""
    networks: list[str] = []


def run(slice: ReportSlice, root: Path, out_file: Path) -> Path:
    """Write ``out_file`` from ``root/tables`` and ``root/figures``.

    Raises KdpipeError when a table or a figure of the slice is missing.
    """
    tables = Tables.load(root, [])
    pictures = {name: _picture(root / "figures", name) for name in slice.figures}
    shared, digests = values.provenance(_provenance(root, slice.networks))
    page = render(
        study=slice.study,
        title=slice.title,
        counted=sentences.counted(tables.transfer, tables.controls),
        scope_note=sentences.scope_note(tables.transfer),
        groups=sentences.groups(tables.transfer, tables.controls),
        controls=sentences.control_lines(tables.transfer),
        transfer=pictures.get("transfer"),
        sections=_sections(tables, pictures),
        training=pictures.get("training"),
        paper=values.published(tables.paper) if len(tables.paper) else None,
        paper_picture=pictures.get("paper"),
        summary=slice.summary,
        shared=shared,
        digests=digests,
    )
    write_atomically(out_file, lambda p: p.write_text(page, encoding="utf-8"))
    return out_file


def _sections(tables: Tables, pictures: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """One section a measured property, also for a property that has no figure of its own."""
    sections = []
    for probe in words.property_order(tables.measurements["probe"].unique()):
        rows = tables.transfer[tables.transfer["probe"] == probe]
        main = rows["primary"] | rows.index.isin(verdicts.controls_of(rows).index)
        sections.append(
            {
                "id": probe,
                "label": words.property_words(probe).label,
                "compared": words.property_words(probe).compared,
                "pictures": [p for p in pictures.values() if probe in p["probes"]],
                "main": values.comparison(rows[main], tables.controls),
                "further": values.comparison(rows[~main], tables.controls),
                "controls": sentences.control_lines(rows),
                "seeds_known": bool(
                    tables.controls.loc[tables.controls["probe"] == probe, "inside"].notna().any()
                ),
            }
        )
    return sections


def _picture(folder: Path, name: str) -> dict[str, Any]:
    from markupsafe import Markup

    path = folder / f"{name}.svg"
    if not path.is_file():
        raise KdpipeError(f"The figure {path} is missing; run the stage 'figures' first.")
    figure = figures.get(name)
    return {
        "name": name,
        "title": figure.title,
        "caption": figure.caption,
        "probes": figure.probes,
        "svg": Markup(_inline(path.read_text(encoding="utf-8"), name)),
    }


def _inline(svg: str, name: str) -> str:
    """An SVG file as a part of a page: no prologue, and ids of its own beside other drawings."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r"url\(#", f"url(#{name}-", svg)
    svg = re.sub(r'href="#', f'href="#{name}-', svg)
    # A rule for "*" inside one drawing would apply to the whole page.
    return re.sub(r"<style[^>]*>.*?</style>", "", svg, flags=re.DOTALL)


def _provenance(root: Path, networks: list[str]) -> dict[str, dict[str, Any]]:
    found = {}
    for network in networks:
        path = root / network / "model.json"
        about = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        if isinstance(about.get("provenance"), dict):
            found[network] = about["provenance"]
    return found
