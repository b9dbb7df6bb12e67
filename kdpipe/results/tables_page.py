"""The page of all columns, as Markdown, from their entries and nothing else."""

from __future__ import annotations

import pyarrow as pa

from kdpipe.base.columns import Column, Table
from kdpipe.data.store import INDEX
from kdpipe.probes.shared.records import RECORDS
from kdpipe.results.columns import EVERY_TABLE
from kdpipe.training.artefact import HISTORY

_HEAD = """\
# Columns of the tables

Made by `make reference` from the entries of the columns; do not edit it by hand. Scripts may rely
on every name and type here.

Paths are below `results/<study>/`. The [tutorial](tutorial.md) reads tables with pandas. Fractions
are in [0, 1], never percent. A value that does not exist is null in Parquet and an empty field in
CSV. The unit *metric* is the metric's own, which its [probe](reference.md#probes) says: a fraction
for shares of images.
"""

_OF_RECORDS = """\
The file also holds what describes it: `pyarrow.parquet.read_schema(path).metadata[b"kdpipe"]` is
JSON with the probe, its options, the network, and what each statistic means to the tables.
"""

_TYPES = {
    pa.string(): "text",
    pa.dictionary(pa.int32(), pa.string()): "text",
    pa.int64(): "whole number",
    pa.float64(): "number",
    pa.bool_(): "true, false",
}


def tables_page() -> str:
    """Every column of every table: name, type, unit and meaning."""
    parts = [_HEAD, *(_section(name, table) for name, table in EVERY_TABLE.items())]
    parts += [_section("Probe records", RECORDS), _OF_RECORDS]
    parts += [_section("Subset index", INDEX), _section("Training history", HISTORY)]
    return "\n".join(parts)


def _section(title: str, table: Table) -> str:
    ending = "`.parquet`, `.csv`" if table.path.startswith("tables/") else "`.parquet`"
    order = ", ".join(f"`{name}`" for name in table.sorted_by)
    lines = [f"## {title}", "", f"`{table.path}`, {ending}. {table.description}", ""]
    lines += [f"Sorted by {order}.", ""] if order else []
    lines += ["| column | type | unit | meaning |", "|---|---|---|---|"]
    return "\n".join([*lines, *map(_line, table.columns)]) + "\n"


def _line(column: Column) -> str:
    cells = [f"`{column.name}`", _TYPES[column.type], column.unit, column.description]
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"
