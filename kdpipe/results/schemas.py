"""Columns of the tables of a study, and how they are written.

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

from kdpipe.base.paths import TableName
from kdpipe.base.provenance import write_atomically

Row = dict[str, Any]

_TYPES = {"text": pa.string(), "int": pa.int64(), "float": pa.float64(), "bool": pa.bool_()}


def _schema(**columns: str) -> pa.Schema:
    """A schema from ``type="column column …"`` runs; a trailing digit only tells runs apart."""
    return pa.schema(
        [
            (name, _TYPES[run.rstrip("0123456789")])
            for run, names in columns.items()
            for name in names.split()
        ]
    )


SCHEMAS: dict[TableName, pa.Schema] = {
    "measurements": _schema(
        text1="study pair teacher student method",
        int1="seed",
        text2="probe condition metric",
        float1="value",
        int2="n",
        text3="unit",
    ),
    "transfer": _schema(
        text1="pair method probe condition metric role family",
        bool1="primary",
        text2="scope",
        float1="teacher target ceiling ind_mean ind_std dist_mean dist_std diff diff_low diff_high",
        float2="gap gap_low gap_high gap_closed closed_low closed_high p_value p_adjusted",
        int1="n_seeds_ind n_seeds_dist n_units",
        text3="verdict",
        float3="min_gap",
        text4="reason",
    ),
    "controls": _schema(
        text1="pair method probe condition metric",
        float1="diff",
        int1="n_pairs",
        float2="control_low control_high",
        bool1="inside",
    ),
    "paper": _schema(
        text1="table pair method condition metric",
        float1="paper_value paper_std",
        bool1="approximate",
        float2="measured_mean measured_std",
        text2="same_direction",
    ),
    "left_out": _schema(text1="pair method", int1="seed", text2="instance probe reason"),
}

_SORT_BY: dict[TableName, tuple[str, ...]] = {
    "measurements": ("pair", "method", "seed", "probe", "condition", "metric"),
    "transfer": ("pair", "method", "probe", "condition", "metric"),
    "controls": ("pair", "method", "probe", "condition", "metric"),
    "paper": ("table", "pair", "method", "condition", "metric"),
    "left_out": ("pair", "instance", "method", "seed"),
}


def to_table(name: TableName, rows: Iterable[Row]) -> pa.Table:
    """Sorted rows as a table of the contract's columns; NaN and infinity become null."""
    schema = SCHEMAS[name]
    ordered = sorted(rows, key=lambda row: tuple(row[column] for column in _SORT_BY[name]))
    clean = [{c: _null_unless_finite(row[c]) for c in schema.names} for row in ordered]
    return pa.Table.from_pylist(clean, schema=schema)


def write_table(name: TableName, rows: Iterable[Row], out: Path) -> None:
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
