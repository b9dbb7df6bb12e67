"""Checks before the first job of a run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kdpipe.base.errors import KdpipeError
from kdpipe.workflow.snakefile import check_writable


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Folders that the operating system was asked about; those called ``shut`` are not writable."""
    seen: list[str] = []

    def access(path: Path, _mode: int) -> bool:
        seen.append(str(path))
        return Path(path).name != "shut"

    monkeypatch.setattr(os, "access", access)
    return seen


def test_folders_that_jobs_write_to(tmp_path: Path, asked: list[str]) -> None:
    root = tmp_path / "results" / "s"
    for folder in ("models/a/seed0", "probes/shut", "teacher_outputs/old/deep", "logs/models"):
        (root / folder).mkdir(parents=True)
    check_writable(root, ["models/a/seed0", "models/b/seed0", "report.html"])
    wanted = {"", "models/a/seed0", "models", "logs"}
    assert {str(Path(path).relative_to(root)).removeprefix(".") for path in asked} == wanted
    with pytest.raises(KdpipeError, match="probes/shut cannot be written to; make it writable"):
        check_writable(root, ["models/a/seed0", "probes/shut/cka"])


def test_first_run_asks_for_the_folder_that_is_there(tmp_path: Path, asked: list[str]) -> None:
    check_writable(tmp_path / "results" / "s", ["models/a/seed0"])
    assert asked == [str(tmp_path)]
