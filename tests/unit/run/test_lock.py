"""One process at a time makes a target, and one run at a time writes a folder of results."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from helpers.places import DEFAULT
from kdpipe.audit import perform
from kdpipe.base.errors import KdpipeError, PassingError
from kdpipe.cli import app
from kdpipe.run import inprocess, lock
from kdpipe.run.lock import hold_run

HOLDER = """
import sys, time
from pathlib import Path
from kdpipe.run.lock import hold
root = Path(sys.argv[1])
with hold(root, "a/b", root / "a/b"):
    (root / "a/b").mkdir(parents=True, exist_ok=True)
    print("held", flush=True)
    while not (root / "go").exists():
        time.sleep(0.01)
    (root / "a/b/late").write_text("written while somebody waits")
    time.sleep(float(sys.argv[2]))
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock of ``a/b``, writes when ``go`` is there, and ends."""
    started: list[subprocess.Popen[str]] = []

    def start(seconds: float) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", HOLDER, str(tmp_path), str(seconds)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_lock_names_who_holds_it_when_the_wait_is_over(tmp_path, holder, monkeypatch, capsys):
    process = holder(60)
    monkeypatch.setenv(lock.VARIABLE, "0.3")
    with (
        pytest.raises(PassingError) as error,
        lock.hold(tmp_path, "a/b", tmp_path / "a/b"),
    ):
        pytest.fail("two processes hold the lock")
    who = f"process {process.pid} on {os.uname().nodename}"
    assert who in str(error.value)
    assert f"a/b is still being made by {who}, left over" in capsys.readouterr().out


def test_another_target_does_not_wait(tmp_path, holder, capsys):
    holder(60)
    with lock.hold(tmp_path, "a/c", tmp_path / "a/c"):
        pass
    assert capsys.readouterr().out == ""


def test_waits_for_an_orphan_and_removes_what_it_wrote_meanwhile(
    tmp_path, holder, capsys, monkeypatch
):
    holder(0.5)
    (tmp_path / "a/b/early").write_text("was there before")
    sleep = time.sleep

    def go_and_sleep(seconds: float) -> None:
        """Once somebody waits, and has seen what was there."""
        (tmp_path / "go").touch()
        sleep(seconds)

    monkeypatch.setattr(lock.time, "sleep", go_and_sleep)
    with lock.hold(tmp_path, "a/b", tmp_path / "a/b"):
        assert [file.name for file in (tmp_path / "a/b").iterdir()] == ["early"]
    assert capsys.readouterr().out.splitlines()[-1] == "It has ended; going on."


def test_killed_process_keeps_no_lock(tmp_path, holder, capsys):
    process = holder(60)
    process.kill()
    process.wait()
    with lock.hold(tmp_path, "a/b", tmp_path / "a/b"):
        assert "still being made" not in capsys.readouterr().out
    assert list((tmp_path / ".locks").iterdir()) == []


COUNTER = """
import sys
from pathlib import Path
from kdpipe.run.lock import hold
root = Path(sys.argv[1])
for _ in range(40):
    with hold(root, "counter", root / "counter"):
        number = int((root / "number").read_text())
        (root / "number").write_text(str(number + 1))
"""


def test_two_never_hold_a_lock_at_once(tmp_path, monkeypatch):
    """Also not in the moment in which one removes the file that another has just opened."""
    (tmp_path / "number").write_text("0")
    monkeypatch.setenv(lock.VARIABLE, "120")
    command = [sys.executable, "-c", COUNTER, str(tmp_path)]
    processes = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(4)]
    assert [process.wait() for process in processes] == [0] * 4
    assert (tmp_path / "number").read_text() == "160"


def test_file_system_without_locks_is_said_and_goes_on(tmp_path, monkeypatch, capsys):
    def no_locks(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with lock.hold(tmp_path, "a/b", tmp_path / "a/b"):
        pass
    said = capsys.readouterr().out
    assert said.count("cannot be locked (No locks available)") == 1


def test_wait_that_is_no_number_is_refused(tmp_path, holder, monkeypatch):
    holder(60)
    monkeypatch.setenv(lock.VARIABLE, "long")
    wanted = lock.hold(tmp_path, "a/b", tmp_path / "a/b")
    with pytest.raises(KdpipeError, match="KDPIPE_LOCK_SECONDS=long"):
        wanted.__enter__()


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
        perform.run(study(), {}, results, perform.folders(None, perform.NAME))
    perform.run(study(), {}, results, perform.folders(None, perform.NAME))
    assert ran == [("audit2", results), ("audit", results)]


def test_a_run_holds_its_folder(ran, tmp_path, monkeypatch):
    def during(plan, results, *_, **__):
        with hold_run(tmp_path / "results" / plan.study.study, tmp_path / "other") as got:
            ran.append(got.name)

    monkeypatch.setattr(inprocess, "run_all", during)
    config = str(DEFAULT)
    CliRunner().invoke(app, ["run", config], catch_exceptions=False)
    assert ran == ["other"]
