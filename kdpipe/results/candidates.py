"""What an audit with candidates found, and the rows of its table."""

from __future__ import annotations

from dataclasses import dataclass

from kdpipe.results.columns import Row
from kdpipe.results.detective import KINDS, Judged


@dataclass(frozen=True)
class Found:
    """Every student beside every candidate.

    ``candidates``, ``baselines``: what people call them; ``students``: by what people call them.
    ``images``: number of test images; ``errors``: how many of them each candidate has wrong.
    """

    candidates: list[str]
    baselines: list[str]
    students: dict[str, Judged]
    images: int
    errors: list[int]

    def teacher_of(self, student: str) -> str | None:
        """The candidate that is named as the student's teacher; None where none stands out."""
        named = self.students[student].named
        return None if named is None else self.candidates[named]


def rows(found: Found) -> list[Row]:
    """One row a student and candidate."""
    return [
        {
            "student": student,
            "rank": rank,
            "candidate": found.candidates[k],
            "score": float(judged.score[k]),
            "usual_score": float(judged.usual[k]),
            **{kind: float(judged.kinds[kind][k]) for kind in KINDS},
            "t": float(judged.t[k]),
            "df": None if judged.reason else judged.df,
            "p_value": float(judged.p[k]),
            "p_adjusted": float(judged.p_adjusted[k]),
            "taught": None if judged.reason else judged.named == k,
            "n_baselines": len(found.baselines),
            "n_images": found.images,
            "candidate_errors": found.errors[k],
            "reason": judged.reason,
        }
        for student, judged in found.students.items()
        for rank, k in enumerate(judged.order, 1)
    ]
