"""What is said of students that others distilled: beside baselines, or nothing of transfer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from kdpipe.report.headline import Sentence, apart, not_judged
from kdpipe.results import verdicts, words

if TYPE_CHECKING:
    import pandas as pd

    from kdpipe.results.settings import PairSettings
    from kdpipe.results.tables import Tables


class Audited(NamedTuple):
    """Rows of the tables that are about given students."""

    transfer: pd.DataFrame
    controls: pd.DataFrame


def given(pairs: Sequence[PairSettings]) -> dict[str, list[str]]:
    """By pair: methods of students that were distilled elsewhere."""
    return {pair.name: pair.given for pair in pairs}


def audited(tables: Tables, pairs: Sequence[PairSettings]) -> Audited:
    return Audited(apart(tables.transfer, given(pairs))[1], tables.controls)


def headline(found: Audited, pairs: Sequence[PairSettings]) -> list[Sentence]:
    """What students share with their teacher beyond the baselines, what not, what is undecided;
    for pairs without a baseline why nothing can be said. Empty where no student was given."""
    claims = verdicts.found(found.transfer, found.controls)
    named = claims["method"].nunique() > 1

    def of(*findings: str) -> str:
        return _listed(claims[claims["finding"].isin(findings)], named)

    alone = [pair for pair in pairs if pair.given and not pair.ind_seeds]
    sentences = []
    if len(claims):
        away, nothing = of("opposite"), of("no gap")
        sentences = [
            Sentence(
                "transferred",
                "Shared with the teacher beyond the baselines",
                f"{of('transferred')}." if of("transferred") else "nothing was shown.",
            ),
            Sentence(
                "not-transferred",
                "Not beyond the baselines",
                (f"{of('not transferred') or 'for no property was that shown'}.")
                + (f" Less than the baselines: {away}." if away else ""),
            ),
            Sentence(
                "inconclusive",
                "Undecided",
                (f"{of('inconclusive', verdicts.NO_FINDING) or 'nothing'}.")
                + (f" No gap between baselines and teacher: {nothing}." if nothing else ""),
            ),
        ]
        sentences += not_judged(claims, "Not judged")
    return sentences + [s for pair in alone for s in _without_baseline(found, pair)]


def _without_baseline(found: Audited, pair: PairSettings) -> list[Sentence]:
    rows = found.transfer
    rows = rows[(rows["pair"] == pair.name) & rows["primary"]]
    return [
        Sentence(
            "inconclusive",
            "No baseline",
            "It cannot be concluded that the student inherited anything from its teacher: networks "
            "that learnt the same task from the same images share much without any distillation, "
            "and how much is not known here. Give a baseline: a network of the student's "
            "architecture, trained on the same images without the teacher.",
        ),
        Sentence("measured", "Measured", f"{_listed(rows, rows['method'].nunique() > 1)}."),
    ]


def _listed(rows: pd.DataFrame, named: bool) -> str:
    """``Fidelity (93.1 %, baselines 88.2 %, teacher 100 %), …``, by property.

    ``named``: with the student, because there are several, whether or not they ended alike.
    """
    several = rows["pair"].nunique() > 1
    said = []
    for (probe, pair), part in rows.groupby(["probe", "pair"], sort=False):
        label = words.property_words(str(probe)).label
        where = f"{pair}: " if several else ""
        levels = "; ".join(_level(row, named) for row in part.to_dict("records"))
        said.append(f"{label} ({where}{levels})")
    return ", ".join(said)


def _level(row: dict[Any, Any], named: bool) -> str:
    metric = words.metric_of(row)
    own = row["teacher"]  # of a comparison with the teacher there is none
    parts = [words.number(row["dist_mean"], metric)]
    if row["n_seeds_ind"]:
        parts.append(f"baselines {words.number(row['ind_mean'], metric)}")
    if own == own and own is not None:
        parts.append(f"teacher {words.number(own, metric)}")
    return (f"{words.method_words(row['method'])} " if named else "") + ", ".join(parts)
