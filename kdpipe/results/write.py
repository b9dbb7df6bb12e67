"""How the tables of a study are written.

Every table is written twice, as Parquet and as CSV. The bytes are a function of the rows alone:
rows are sorted, nothing carries a date, and a float is written with the digits it needs.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from kdpipe.base.provenance import write_atomically
from kdpipe.results.columns import EVERY_TABLE, Row


def to_table(name: str, rows: Iterable[Row]) -> pa.Table:
    """Sorted rows as a table of the contract's columns; NaN and infinity become null."""
    table = EVERY_TABLE[name]
    ordered = sorted(rows, key=lambda row: tuple(row[column] for column in table.sorted_by))
    clean = [{c: _null_unless_finite(row[c]) for c in table.names} for row in ordered]
    return pa.Table.from_pylist(clean, schema=table.schema)


def write_table(name: str, rows: Iterable[Row], out: Path) -> None:
    """Write ``out/<name>.parquet`` and ``out/<name>.csv``, each in one step."""
    table = to_table(name, rows)
    parquet = pa.BufferOutputStream()
    pq.write_table(table, parquet, compression="zstd")
    content = {"parquet": parquet.getvalue().to_pybytes(), "csv": _csv(table).encode()}
    for ending, data in content.items():
        write_atomically(out / f"{name}.{ending}", partial(Path.write_bytes, data=data))


def _null_unless_finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _csv(table: pa.Table) -> str:
    """CSV text: an empty field is null, floats round-trip."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table.column_names)
    writer.writerows(zip(*(column.to_pylist() for column in table.columns), strict=True))
    return text.getvalue()
