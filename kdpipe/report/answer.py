"""The first lines of the report, for the terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from kdpipe.report import audit, looks, outlook
from kdpipe.report.doubts import doubts
from kdpipe.report.headline import Sentence, apart, headline, not_measured
from kdpipe.results.settings import PairSettings

if TYPE_CHECKING:
    from kdpipe.results.tables import Tables


def sentences(
    tables: Tables,
    pairs: Sequence[PairSettings],
    without_teacher: Mapping[str, list[str]],
    cost: Callable[[outlook.Advice], str] = lambda advice: "",
) -> list[Sentence]:
    """What students that were distilled here have of their teachers, what given ones share with
    theirs, what looks saved, what more seeds would decide, and what could not be measured.

    ``without_teacher``: by pair, methods that see no teacher. ``cost``: what following the advice
    takes, in words; the report holds no times.
    """
    claims = outlook.of_taught(tables.power, without_teacher)
    trained, taken = apart(tables.transfer, audit.given(pairs))
    return [
        *headline(trained, tables.controls, dict(without_teacher)),
        *audit.headline(audit.Audited(taken, tables.controls), pairs),
        *looks.sentences(trained, pairs, tables.decide),
        *([outlook.sentence(claims, cost(outlook.advice(claims)))] if claims is not None else []),
        *not_measured(tables.left_out),
    ]


def lines(
    tables: Tables,
    pairs: Sequence[PairSettings],
    without_teacher: Mapping[str, list[str]],
    cost: Callable[[outlook.Advice], str] = lambda advice: "",
) -> list[str]:
    """What casts doubt on the answer, then the answer: one line a sentence."""
    warned = [f"Warning: {text}" for text in doubts(tables, pairs, tables.root)]
    said = [f"{s.lead}: {s.text}" for s in sentences(tables, pairs, without_teacher, cost)]
    return [*warned, *said]
