"""Two runs never share a folder of results."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from helpers.places import DEFAULT
from kdpipe.audit import command
from kdpipe.cli import app
from kdpipe.run import inprocess
from kdpipe.run.lock import hold_run


def test_of_several_folders_the_first_free_one_is_taken(tmp_path):
    names = [tmp_path / name for name in ("audit", "audit2", "audit3")]
    with hold_run(*names) as first, hold_run(*names) as second:
        assert (first.name, second.name) == ("audit", "audit2")
        with hold_run(*names) as third:
            assert third.name == "audit3"
    with hold_run(*names) as again:
        assert again.name == "audit"
    assert not list(tmp_path.rglob("*.lock"))


def test_one_folder_is_waited_for(tmp_path, capsys):
    entered = threading.Event()

    def other() -> None:
        with hold_run(tmp_path / "s"):
            entered.set()
            time.sleep(0.6)

    thread = threading.Thread(target=other)
    thread.start()
    assert entered.wait(60)
    start = time.monotonic()
    with hold_run(tmp_path / "s"):
        waited = time.monotonic() - start
    thread.join()
    assert waited > 0.3
    assert f"is in use by process {os.getpid()} on " in capsys.readouterr().out


@pytest.fixture
def ran(monkeypatch, tmp_path) -> list[tuple[str, Path]]:
    """Studies and folders that would have been run, and an audit's ending left out."""
    found = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        inprocess,
        "run_all",
        lambda plan, results, *_, **__: found.append((plan.study.study, results)),
    )
    monkeypatch.setattr("kdpipe.audit.outcome.tell", lambda *_: 0)
    return found


def study() -> dict:
    from kdpipe.study.includes import read_yaml

    return read_yaml(DEFAULT)


def test_an_audit_beside_another_gets_a_name_of_its_own(ran, tmp_path):
    results = tmp_path / "results"
    with hold_run(results / "audit"):
        command._run(study(), {}, results, command.NAMES)
    command._run(study(), {}, results, command.NAMES)
    assert ran == [("audit2", results), ("audit", results)]


def test_a_run_holds_its_folder(ran, tmp_path, monkeypatch):
    def during(plan, results, *_, **__):
        with hold_run(tmp_path / "results" / plan.study.study, tmp_path / "other") as got:
            ran.append(got.name)

    monkeypatch.setattr(inprocess, "run_all", during)
    config = str(DEFAULT)
    CliRunner().invoke(app, ["run", config], catch_exceptions=False)
    assert ran == ["other"]
