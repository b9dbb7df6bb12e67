"""The same study gives the same bytes, whatever the folder and the number of cores."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from workspace import Workspace

pytestmark = pytest.mark.workflow


def digests(results: Path) -> dict[str, str]:
    """Every result but what tells the time: logs, benchmarks and Snakemake's own marks."""
    return {
        str(path.relative_to(results)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(results.rglob("*"))
        if path.is_file()
        and path.relative_to(results).parts[0] not in ("logs", "benchmarks")
        and path.name != ".snakemake_timestamp"
    }


def test_one_core_and_two_cores_give_the_same_bytes(finished: Workspace, empty: Workspace) -> None:
    done = empty.run(cores=1)
    assert done.returncode == 0, done.stdout
    mine, theirs = digests(empty.results), digests(finished.results)
    assert mine.keys() == theirs.keys()
    kinds = {Path(name).suffix for name in mine}
    assert {".safetensors", ".parquet", ".csv", ".json"} <= kinds
    assert [name for name in mine if mine[name] != theirs[name]] == []
