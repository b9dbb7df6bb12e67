"""The results of the default study in words: ``transfer.csv`` to ``verdicts.md``.

``make docs-results`` calls it, so that the page says what the table says.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

from kdpipe.results import verdicts, words

FOLDER = Path(__file__).parent / "results" / "digits"
ORDER = ("transferred", "not transferred", "opposite", "inconclusive", "no gap")

HEAD = """\
# Results of the default study

Made by `make docs-results` from [transfer.csv](transfer.csv); do not edit it by hand.

![Properties in rows, distillation methods in columns, coloured by how much of the gap between
independent student and teacher was closed](transfer.svg)

Gap closed: the share of the gap between independent students and target, with its 95 % interval;
where there is no gap, the gap with its interval, and whether it is not measurable or smaller than
the property's smallest gap that counts.
n: images or triplets, and seeds of independent against distilled students.
A method that sees no teacher (soft label) is a control; its rows are listed and counted here, not
among the report's claims.
"""

TABLE = """\
| property | measured on | pair | method | independent → target | gap closed | n | verdict |
|---|---|---|---|---|---|---|---|"""


def page(transfer: pd.DataFrame) -> str:
    """The page as Markdown, from the table ``transfer``."""
    claims = verdicts.primary_claims(transfer)
    found = claims["verdict"].value_counts()
    counts = ", ".join(f"{found.get(verdict, 0)} {verdict}" for verdict in ORDER)
    if without := int(claims["verdict"].isna().sum()):
        counts += f", {without} {verdicts.NOT_JUDGED}"
    total = f"Of {len(claims)} claims (a property, a pair, a method): {counts}."
    return "\n".join([HEAD, total, "", claims_table(claims)]) + "\n"


def claims_table(claims: pd.DataFrame) -> str:
    """Rows of ``transfer`` as a table in Markdown."""
    return "\n".join([TABLE, *(_line(row) for _, row in claims.iterrows())])


def _line(row: pd.Series) -> str:
    values = [words.number(row[c], words.metric_of(row)) for c in ("ind_mean", "target")]
    closed = verdicts.why(row) or "–"
    if row["gap_closed"] == row["gap_closed"]:
        interval = words.share_interval(row["closed_low"], row["closed_high"])
        closed = f"{words.share(row['gap_closed'])} {interval}"
    cells = (
        words.property_words(row["probe"]).label,
        words.condition_words(row["condition"]),
        row["pair"],
        words.method_words(row["method"]),
        " → ".join(values),
        closed,
        f"{words.units(row['n_units'])}, "
        f"seeds {int(row['n_seeds_ind'])} vs {int(row['n_seeds_dist'])}",
        row["verdict"] if isinstance(row["verdict"], str) else verdicts.NOT_JUDGED,
    )
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    text = page(pd.read_csv(folder / "transfer.csv"))
    (folder / "verdicts.md").write_text(text, encoding="utf-8")
