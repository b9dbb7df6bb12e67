"""The overview: properties under the headings of their chapters, and how each method ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from kdpipe.report.values import Cell
from kdpipe.results import verdicts, words

if TYPE_CHECKING:
    import pandas as pd

_SHORT = {
    "transferred": ("distilled", "beyond the baselines"),
    "not transferred": ("not distilled", "not beyond the baselines"),
    "opposite": ("moved away", "farther than the baselines"),
    "inconclusive": ("undecided", "undecided"),
    verdicts.NO_FINDING: ("within the spread", "within the spread"),
    "no gap": ("no gap", "no gap"),
    verdicts.NOT_JUDGED: ("not judged", "not judged"),
}
"""A finding in a cell: of students that were distilled here, and of given ones."""
_WITH_SHARE = ("transferred", "opposite")


class Mark(NamedTuple):
    """How a claim ended: the finding, and its words."""

    key: str
    cell: Cell


class Row(NamedTuple):
    """A property in a pair; a mark for each method, None where nothing is claimed of it.

    ``pair``: empty where the study has one.
    """

    probe: str
    label: str
    pair: str
    marks: list[Mark | None]


class Chapter(NamedTuple):
    heading: str
    id: str
    rows: list[Row]


class Overview(NamedTuple):
    methods: list[str]
    several: bool
    """Whether there are several pairs, so that rows name theirs."""
    chapters: list[Chapter]


class Part(NamedTuple):
    """Claims on one property that ended alike, in a few words."""

    key: str
    lead: str
    text: str


def claims(taught: pd.DataFrame, taken: pd.DataFrame, controls: pd.DataFrame) -> pd.DataFrame:
    """Primary claims with their ``finding`` and whether they are about ``given`` students.

    ``taught``, ``taken``: rows of ``transfer`` about students that were distilled here, and of
    given ones. Methods that see no teacher are in neither.
    """
    import pandas as pd

    both = [
        verdicts.found(rows, controls).assign(given=given)
        for rows, given in ((taught, False), (taken, True))
    ]
    filled = [rows for rows in both if len(rows)]
    return pd.concat(filled, ignore_index=True) if filled else both[0]


def overview(ended: pd.DataFrame, probes: Sequence[str]) -> Overview:
    """All ``probes`` by chapter, also those without a claim.

    ``ended``: what ``claims`` returns.
    """
    methods = words.method_order(ended["method"])
    several = ended["pair"].nunique() > 1
    chapters = []
    for heading, names in words.chapters(probes).items():
        rows = [row for name in names for row in _rows(ended, name, methods, several)]
        chapters.append(Chapter(heading, chapter_id(heading), rows))
    return Overview([words.method_words(m) for m in methods], several, chapters)


def chapter_id(heading: str) -> str:
    """Of the heading's section in the page; no property has such a name."""
    return "chapter-" + "-".join(heading.lower().split())


def answer(ended: pd.DataFrame, probe: str) -> list[Part]:
    """What was found of one property, findings in their order; empty where nothing is claimed."""
    own = ended[ended["probe"] == probe]
    several = own["pair"].nunique() > 1
    parts: list[Part] = []
    for key, leads in _SHORT.items():
        for given in (False, True):
            alike = own[(own["finding"] == key) & (own["given"] == given)]
            if len(alike):
                lead = leads[given]
                lead = lead if parts else lead[:1].upper() + lead[1:]
                parts.append(Part(key, lead, _methods(alike, key in _WITH_SHARE, several)))
    return parts


def _methods(alike: pd.DataFrame, share: bool, several: bool) -> str:
    """``KL 56 %, CRD 20 % of the gap (main); KL 30 % of the gap (colour)``."""
    said = []
    for pair, part in alike.groupby("pair", sort=False):
        rows = {row["method"]: row for row in part.to_dict("records")}
        names = [
            words.method_words(m) + (f" {words.share(rows[m]['gap_closed'])}" if share else "")
            for m in words.method_order(rows)
        ]
        listed = ", ".join(names) + (" of the gap" if share else "")
        said.append(f"{listed} ({pair})" if several else listed)
    return "; ".join(said)


def _rows(ended: pd.DataFrame, probe: str, methods: list[str], several: bool) -> list[Row]:
    label = words.property_words(probe).label
    own = ended[ended["probe"] == probe]
    rows = []
    for pair, part in own.groupby("pair", sort=False):
        by_method = {row["method"]: _mark(row) for row in part.to_dict("records")}
        marks = [by_method.get(method) for method in methods]
        rows.append(Row(probe, label, str(pair) if several else "", marks))
    return rows or [Row(probe, label, "", [None] * len(methods))]


def _mark(row: dict[Any, Any]) -> Mark:
    key = row["finding"]
    text = _SHORT[key][bool(row["given"])]
    if key in _WITH_SHARE:
        text += f" {words.share(row['gap_closed'])}"
    return Mark(key, Cell(text, row["gap_closed"]))
