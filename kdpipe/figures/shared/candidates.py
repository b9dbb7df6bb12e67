"""The figure of an audit with candidates: how far one of them stands out for each student."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kdpipe.results.candidates import Found

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

NAME = "candidates"
TITLE = "How alike each student and each candidate are"
CAPTION = (
    "A row is a student, a mark its score with a candidate, with what the baselines usually have "
    "with that candidate taken off, and centred on the student's mean: 0 is what is to be expected "
    "of a student that no candidate taught. Filled: the candidate that is named as the teacher. "
    "Open, with its name: the nearest one where none is named."
)
MOST = 60
"""Students that are shown."""


def draw(found: Found) -> Canvas:
    """One row a student, one mark a candidate; of many students the first."""
    from kdpipe.figures.shared import style

    shown = list(found.students)[:MOST]
    fig, axes = style.grid(1, 1, width=7.2, height=1.0 + 0.26 * len(shown))
    ax = axes.flat[0]
    ax.axvline(0, color="#444444", lw=1, ls=":", zorder=1)
    for y, student in enumerate(shown):
        judged = found.students[student]
        x = judged.score - np.nan_to_num(judged.usual)
        x = x - x.mean()
        ax.scatter(x, np.full(len(x), y), s=14, color="#9a9a9a", linewidths=0, zorder=2)
        first = judged.order[0]
        named = judged.named is not None
        ax.scatter(
            x[first], y, s=42, zorder=3, linewidths=1.2, edgecolors="#0072B2",
            facecolors="#0072B2" if named else "none",
        )  # fmt: skip
        ax.annotate(
            found.candidates[first], (x[first], y), (7, 0), textcoords="offset points",
            va="center", fontsize=7.5, color="#0072B2" if named else "#666666",
        )  # fmt: skip
    ax.set_yticks(range(len(shown)), shown)
    ax.set_ylim(len(shown) - 0.5, -0.5)
    ax.margins(x=0.15)
    ax.grid(axis="x")
    ax.set_xlabel("Score beyond what is usual")
    if len(found.students) > MOST:
        ax.set_title(f"{MOST} of {len(found.students)} students", loc="right", fontsize=8)
    return fig
