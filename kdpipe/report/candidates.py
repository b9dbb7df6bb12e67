"""What is said of candidates: sentences, the ranked table of the terminal, and the report."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from kdpipe.base.provenance import write_atomically
from kdpipe.report import networks
from kdpipe.report.page import inline, render
from kdpipe.report.values import Cell, Table
from kdpipe.results.candidates import Found, rows
from kdpipe.results.columns import CANDIDATES as COLUMNS
from kdpipe.results.detective import LEVEL

TEMPLATE = "candidates.html"
SHOWN = {
    "student": "Student",
    "rank": "Rank",
    "candidate": "Candidate",
    "score": "Score",
    "usual_score": "Baselines",
    "answers": "Answers",
    "noise": "Noise",
    "boundary": "Boundary",
    "errors": "Errors",
    "p_adjusted": "p (Holm)",
}
"""Columns of the table that people read, and their heads."""


def sentence(found: Found, student: str) -> str:
    """What was found of one student."""
    judged = found.students[student]
    first = judged.order[0]
    name = found.candidates[first]
    if judged.reason:
        return f"Student {student}: not judged, because {judged.reason}. {name} is nearest."
    p = p_words(float(judged.p_adjusted[first]))
    if judged.named is not None:
        return f"Student {student} was most likely taught by {name} ({p})."
    return f"Student {student}: none of the candidates stands out (the first, {name}: {p})."


def sentences(found: Found) -> list[str]:
    """One a student."""
    return [sentence(found, student) for student in found.students]


def p_words(p: float) -> str:
    """``p = 0.012``, or ``p < 0.0001`` below that."""
    return "p < 0.0001" if p < 1e-4 else f"p = {p:.2g}"


def assumption(found: Found) -> str:
    """What the test takes for granted, given these networks."""
    m, b = len(found.candidates), len(found.baselines)
    level = (
        f"A candidate is named below p = {LEVEL:g} after Holm's correction over the {m} candidates."
    )
    if b:
        count = f"{b} baseline{'s' if b > 1 else ''}"
        return (
            f"{level} The test takes for granted that a student without any of these teachers is "
            f"like the {count}: trained on labels of the same kind of images, with the same kind "
            f"of network. A recipe or images that student and one candidate share, and baselines "
            f"do not, look like teaching."
        )
    return (
        f"{level} There are no baselines, so the test takes for granted that the candidates have "
        f"one architecture, one recipe and one set of training images, and differ by seed: only "
        f"then is an untaught student as likely to be near to one as to another. Baselines, which "
        f"are students that had no teacher, spare this and see more."
    )


def print_found(found: Found) -> None:
    """The ranked table for the terminal."""
    from rich.console import Console
    from rich.table import Table as Printed

    shown = table(found)
    printed = Printed(*shown.head, title="Who taught whom?")
    for row in shown.rows:
        printed.add_row(*(cell.text for cell in row))
    width = None if sys.stdout.isatty() else networks.WIDTH
    Console(markup=False, highlight=False, width=width).print(printed)


def table(found: Found) -> Table:
    """Students in the order they were given, candidates by rank."""
    made = [[_cell(row[column]) for column in SHOWN] for row in rows(found)]
    return Table(list(SHOWN.values()), made)


def _cell(value: Any) -> Cell:
    if isinstance(value, float):
        if value != value:
            return Cell("–")
        return Cell("0.0000" if abs(value) < 5e-5 else f"{value:.4f}", value)
    return Cell(str(value), value if isinstance(value, int) else None)


def page(found: Found, title: str, root: Path, models: Sequence[str]) -> None:
    """Write ``report.html`` into ``root``, where the figure lies already. ``models``: paths of the
    networks."""
    from markupsafe import Markup

    from kdpipe.figures.shared import candidates as figure

    svg = (root / "figures" / f"{figure.NAME}.svg").read_text(encoding="utf-8")
    html = render(
        TEMPLATE,
        title=title,
        study=root.name,
        headline=[
            (found.students[name].named is not None, sentence(found, name))
            for name in found.students
        ],
        assumption=assumption(found),
        ranked=table(found),
        picture={
            "svg": Markup(inline(svg, figure.NAME)),
            "title": figure.TITLE,
            "caption": figure.CAPTION,
        },
        columns=[(head, COLUMNS[column].description) for column, head in SHOWN.items()],
        found=found,
        looked_at=networks.table(root, models),
    )
    write_atomically(root / "report.html", partial(Path.write_text, data=html, encoding="utf-8"))
