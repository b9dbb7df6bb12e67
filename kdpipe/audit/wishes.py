"""What is expected of the students of an audit, and the files that say whether it was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kdpipe.audit.gate_files import check_places
from kdpipe.base.errors import KdpipeError
from kdpipe.results.expectations import Expectation, Measured, read


@dataclass(frozen=True)
class Wishes:
    """What ``--expect``, ``--junit`` and ``--summary`` say; without files for a study that runs."""

    expectations: Sequence[Expectation] = ()
    junit: Path | None = None
    summary: Path | None = None


def wishes(
    expect: Sequence[str],
    measured: Sequence[str],
    left_out: Mapping[str, str],
    junit: Path | None,
    summary: Path | None,
) -> Wishes:
    """What is expected, once it is known to make sense and its files can be written.

    ``measured``: the properties of the audit. ``left_out``: why one is none of them, by property.
    Raises KdpipeError for an expectation that makes no sense, a file that cannot be written, and
    ``junit`` without an expectation.
    """
    check_places(("--junit", junit), ("--summary", summary))
    if junit is not None and not expect:
        raise KdpipeError("--junit FILE has a test case for each --expect; give one of those.")
    stated = read(expect, Measured({name: name for name in measured}, left_out))
    return Wishes(stated, junit, summary)
