"""Probe records: one Parquet file per network and property, with what describes it.

A record is one outcome of one unit. ``value`` is NaN where the unit does not count (an image
that did not fool the teacher has no fooling outcome). A statistic that exists only for a set of
images (CKA, calibration error) has one row of unit ``image set`` and, for its uncertainty, rows
of unit ``replicate``: the statistic on bootstrap resample ``unit_id`` of the images, the same
resample for every network, so that differences between networks stay paired.
How many images such a set has is kept beside the rows (``set_sizes``).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from kdpipe.base.columns import INTEGER, NUMBER, REPEATED_TEXT, Column, Table
from kdpipe.base.errors import KdpipeError
from kdpipe.base.options import Options, optional

# fmt: off
RECORDS = Table(
    "probes/…/<probe>",
    description="One row per outcome of one unit, in one file per network and property.",
    columns=(
        Column("condition", REPEATED_TEXT, "", "As in `measurements`."),
        Column("metric", REPEATED_TEXT, "", "What was measured."),
        Column(
            "unit", REPEATED_TEXT, "", "`sample` (an image), `triplet` (of images), `image set` "
            "(one statistic of all images), `replicate` (that statistic on a bootstrap resample), "
            "or, of small pictures, `pixel` and `grid point`."),
        Column(
            "unit_id", INTEGER, "", "Number of the unit, the same for every network; of an image, "
            "its `sample_id`."),
        Column("value", NUMBER, "metric", "The outcome; NaN if the unit does not count."),
    ),
)
# fmt: on

BESIDE_TEACHER = {"one": 1.0, "zero": 0.0}
"""By ``Statistic.target``, what a teacher has beside itself: all similarity, no distance."""


class Statistic(Options):
    """What a (condition, metric) of a probe means to the tables.

    ``target``: what perfect inheritance would give. ``teacher`` is the teacher's own value,
    ``one`` is 1 (similarity to the teacher), ``zero`` is 0 (distance from the teacher); ``none``
    has no target and therefore no gap.
    ``min_gap``: the smallest gap that counts, for a metric of another unit than the primary one;
    None for the probe's option of that name. ``tables``: a statistic that is the same for every
    student (the strength of an attack, a count of images) is measured and not compared; what only
    a picture needs stays in the record file.
    """

    condition: str
    metric: str
    primary: bool = False
    role: Literal["claim", "control"] = "claim"
    target: Literal["teacher", "one", "zero", "none"] = "teacher"
    min_gap: float | None = None
    tables: Literal["all", "measurements", "none"] = "all"
    missing: str = ""
    """Why a network may have no value, in words that go on from "no value, because"."""
    win_rate: str | None = None
    """Name of a derived metric: how often a unit's value is higher than an independent's."""
    flips: tuple[str, str] | None = optional(
        description="Names of two derived metrics of outcomes that are 0 or 1: how often a unit's "
        "outcome is higher, and how often lower, than that of an independent of another seed."
    )


@dataclass
class Records:
    """Outcomes collected by one probe of one network, in the order they were added."""

    statistics: list[Statistic] = field(default_factory=list)
    notes: dict[str, Any] = field(default_factory=dict)
    set_sizes: dict[tuple[str, str], int] = field(default_factory=dict)
    """Number of images behind each statistic of an image set, by (condition, metric)."""
    _parts: list[dict[str, Any]] = field(default_factory=list)

    def add(
        self,
        statistic: Statistic,
        values: Any,
        *,
        unit: str = "sample",
        unit_ids: Any = None,
    ) -> None:
        """Add the values (n,) of one condition and metric; booleans become 0 and 1."""
        values = np.atleast_1d(np.asarray(values, dtype=np.float64))
        ids = np.arange(len(values)) if unit_ids is None else np.asarray(unit_ids, dtype=np.int64)
        if len(ids) != len(values):
            raise ValueError(f"{len(values)} values for {len(ids)} units")
        if statistic not in self.statistics:
            self.statistics.append(statistic)
        self._parts.append(
            {
                "condition": statistic.condition,
                "metric": statistic.metric,
                "unit": unit,
                "ids": ids,
                "values": values,
            }
        )

    def add_set(
        self, statistic: Statistic, value: float, replicates: Any = (), *, n: int | None = None
    ) -> None:
        """Add a statistic of a whole image set and its bootstrap replicates (B,).

        ``n``: the number of images that ``value`` is of; None where it is of none, such as the
        strength of an attack.
        """
        self.add(statistic, [value], unit="image set")
        if n is not None:
            self.set_sizes[statistic.condition, statistic.metric] = n
        if len(replicates):
            self.add(statistic, replicates, unit="replicate")

    def check_primary(self, probe: str) -> None:
        """Raise KdpipeError unless exactly one statistic is a primary claim.

        Without one there is no verdict; with two, Holm's correction would count the probe twice.
        """
        found = [s for s in self.statistics if s.primary and s.role == "claim"]
        if len(found) != 1:
            named = " and ".join(f"{s.metric} under '{s.condition}'" for s in found) or "none"
            raise KdpipeError(
                f"Probe {probe} has to mark exactly one Statistic of role claim as primary, which "
                f"its verdict is about; it marks {named}. Change its measure()."
            )

    def __len__(self) -> int:
        return sum(len(part["ids"]) for part in self._parts)

    def table(self) -> pa.Table:
        """A row an outcome: condition, metric, unit, unit_id, value (in the metric's own unit)."""

        def repeat(key: str) -> pa.Array:
            words = [p[key] for p in self._parts]
            distinct = sorted(set(words))
            codes = np.repeat(
                np.array([distinct.index(w) for w in words], dtype=np.int32),
                [len(p["ids"]) for p in self._parts],
            )
            return pa.DictionaryArray.from_arrays(codes, distinct)

        return pa.table(
            [
                repeat("condition"),
                repeat("metric"),
                repeat("unit"),
                pa.array(np.concatenate([p["ids"] for p in self._parts])),
                pa.array(np.concatenate([p["values"] for p in self._parts])),
            ],
            schema=RECORDS.schema,
        )


def write_records(path: Path, records: Records, about: dict[str, Any]) -> None:
    """Write ``records`` with ``about`` (probe, subject, reference, …) in the file's metadata."""
    meta = {
        **about,
        "statistics": [s.model_dump() for s in records.statistics],
        "notes": records.notes,
        "set_sizes": [[*key, n] for key, n in sorted(records.set_sizes.items())],
    }
    table = records.table().replace_schema_metadata(
        {b"kdpipe": json.dumps(meta, sort_keys=True).encode()}
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, compression="zstd")


def write_left_out(path: Path, reason: str, about: dict[str, Any]) -> None:
    """Write a record file without records, of a property that does not apply because ``reason``."""
    meta = {**about, "statistics": [], "notes": {}, "left_out": reason}
    table = RECORDS.schema.empty_table().replace_schema_metadata(
        {b"kdpipe": json.dumps(meta, sort_keys=True).encode()}
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, compression="zstd")


def left_out_because(path: Path) -> str | None:
    """Why a record file holds no records; None where it holds some, or cannot be read."""
    try:
        about = json.loads(pq.read_metadata(path).metadata[b"kdpipe"])
    except (OSError, pa.ArrowInvalid, KeyError, TypeError, ValueError):
        return None
    return about.get("left_out")


def read_records(path: Path) -> tuple[pa.Table, dict[str, Any]]:
    """The record table and its description.

    Raises KdpipeError when the file is missing or is not a record file.
    """
    try:
        table = pq.ParquetFile(path).read()
        about = json.loads(table.schema.metadata[b"kdpipe"])
    except FileNotFoundError:
        raise KdpipeError(f"The record file {path} is missing; run its probe again.") from None
    except (pa.ArrowInvalid, KeyError, TypeError) as error:
        raise KdpipeError(f"{path} is not a kdpipe record file ({error}).") from error
    return table, about
