"""Columns of the tables on disk: each has one entry, which is its Arrow type and its documentation.

The entries stand beside the code that writes the table; ``docs/tables.md`` is made from them. Unit
and description are words for people: a change of them reruns no job.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

import pyarrow as pa

TEXT = pa.string()
INTEGER = pa.int64()
NUMBER = pa.float64()
BOOLEAN = pa.bool_()
REPEATED_TEXT = pa.dictionary(pa.int32(), pa.string())
"""Text that repeats over many rows: each distinct word is stored once."""


@dataclass(frozen=True)
class Column:
    """One column. ``unit`` is empty where the values have none.

    A ``*`` in the name stands for any word: ``train_*`` describes a column for each loss term.
    """

    name: str
    type: pa.DataType
    unit: str
    description: str


@dataclass(frozen=True)
class Table:
    """The columns of one table, in order.

    ``path``: where it lies below ``results/<study>/``. ``description``: what one row is.
    ``sorted_by``: the columns that order the rows; empty for the order in which they are made.
    """

    path: str
    description: str
    columns: tuple[Column, ...]
    sorted_by: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """Names of the columns, in order."""
        return [column.name for column in self.columns]

    @property
    def schema(self) -> pa.Schema:
        """The Arrow schema of all columns."""
        return self.schema_of(self.names)

    def schema_of(self, names: Iterable[str]) -> pa.Schema:
        """The Arrow schema of the columns ``names``, in that order.

        Raises KeyError for a name that has no entry.
        """
        return pa.schema([(name, self[name].type) for name in names])

    def __getitem__(self, name: str) -> Column:
        """The entry of the column ``name``. Raises KeyError when there is none."""
        for column in self.columns:
            if fnmatchcase(name, column.name):
                return column
        raise KeyError(f"{self.path} has no column '{name}'")
