"""The same study gives the same bytes, whatever the folder and the number of cores."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.workspace import Workspace, digests

pytestmark = pytest.mark.workflow


def test_one_core_and_two_cores_give_the_same_bytes(finished: Workspace, empty: Workspace) -> None:
    done = empty.run(cores=1)
    assert done.returncode == 0, done.stdout
    mine, theirs = digests(empty.results), digests(finished.results)
    assert mine.keys() == theirs.keys()
    kinds = {Path(name).suffix for name in mine}
    assert {".safetensors", ".parquet", ".csv", ".json"} <= kinds
    assert [name for name in mine if mine[name] != theirs[name]] == []
