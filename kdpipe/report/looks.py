"""What looks did: at which one claims ended, and the students that nobody had to train."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kdpipe.report.headline import Sentence
from kdpipe.results import verdicts
from kdpipe.results.settings import Decide, PairSettings

if TYPE_CHECKING:
    import pandas as pd

NOTE = (
    "The study was looked at several times: the interval of a claim is a repeated confidence "
    "interval, wider than one of a single look, so that together they cover 95 %, and its "
    "p-value is corrected for the looks as well."
)


def sentences(
    transfer: pd.DataFrame, pairs: Sequence[PairSettings], decide: Decide | None
) -> list[Sentence]:
    """One sentence for a study with looks, none for another."""
    if decide is None:
        return []
    claims = verdicts.primary_claims(transfer)
    counts = Counter(int(look) for look in claims["look"].dropna())
    ended = [f"{n} with {decide.looks[look - 1]} seeds" for look, n in sorted(counts.items())]
    trained, most = students(pairs, decide)
    saved = f"{most - trained} of {most} students did not have to be trained"
    text = f"{'; '.join(filter(None, [_joined(ended), saved]))}."
    return [Sentence("looks", "Looks", text[:1].upper() + text[1:])]


def students(pairs: Sequence[PairSettings], decide: Decide) -> tuple[int, int]:
    """How many students were trained, independent and distilled ones, and how many there are with
    all seeds."""
    models = {pair.student for pair in pairs}
    own = [max(len(pair.ind_seeds) for pair in pairs if pair.student == model) for model in models]
    distilled = [len(seeds) for pair in pairs for seeds in pair.methods.values()]
    return sum(own) + sum(distilled), decide.at_most * (len(own) + len(distilled))


def of_row(row: Any) -> str:
    """`` (look 2)`` behind the name of a method; empty for a row without a look."""
    look = row.get("look")
    return "" if look is None or look != look else f" (look {int(look)})"


def _joined(parts: list[str]) -> str:
    """``claims ended: 3 with 4 seeds, 2 with 8 seeds``."""
    return f"claims ended: {', '.join(parts)}" if parts else ""
