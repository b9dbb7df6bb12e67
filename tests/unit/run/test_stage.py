"""Every stage has a lock, ends with its Snakemake, and does not repeat permanent failures."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path

import pytest

from kdpipe.base.errors import KdpipeError, PassingError, StoppedError
from kdpipe.base.options import Options
from kdpipe.base.paths import ModelRef
from kdpipe.base.plugin import PluginRef
from kdpipe.base.provenance import canonical
from kdpipe.data.selection import Selection
from kdpipe.run import lock, orphan
from kdpipe.run import stage as jobs
from kdpipe.stages import subset
from kdpipe.stages.base import Call, Stage
from kdpipe.stages.train import TrainSlice
from kdpipe.training.compute import Compute
from kdpipe.training.recipe import Recipe


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


# Failures that last


class FakeSlice(Options):
    level: int = 0


class FakeStage:
    """A stage ``fake`` that ends as it is told and counts its calls."""

    def __init__(self) -> None:
        self.ends: BaseException | None = None
        self.calls = 0

    def module(self) -> types.ModuleType:
        def run(slice_: FakeSlice, call: Call) -> None:
            self.calls += 1
            if self.ends is not None:
                raise self.ends

        module = types.ModuleType("kdpipe.stages.fake")
        module.STAGE = Stage(FakeSlice, run)
        return module


@pytest.fixture
def stage(monkeypatch) -> FakeStage:
    fake = FakeStage()
    monkeypatch.setitem(sys.modules, "kdpipe.stages.fake", fake.module())
    return fake


def call(root: Path, level: int = 0, code: str = "c", attempt: int = 1, out: str = "it") -> None:
    settings = canonical({"level": level})
    jobs.run_stage("fake", settings, root, root / out, code=code, attempt=attempt)


def markers(root: Path) -> list[Path]:
    return list((root / ".failures").glob("*"))


def test_retry_repeats_a_lasting_failure_without_computing(tmp_path, stage):
    stage.ends = KdpipeError("The loss became nan in epoch 3.")
    with pytest.raises(KdpipeError) as first:
        call(tmp_path)
    with pytest.raises(KdpipeError) as second:
        call(tmp_path, attempt=2)
    assert stage.calls == 1
    (marker,) = markers(tmp_path)
    assert str(second.value).startswith(str(first.value))
    assert f"delete {marker} to insist" in str(second.value)
    marker.unlink()
    with pytest.raises(KdpipeError):
        call(tmp_path, attempt=3)
    assert stage.calls == 2


def test_first_attempt_tries_again_and_success_forgets(tmp_path, stage):
    """A person may have mended a file that is no part of any digest."""
    stage.ends = KdpipeError("The file is corrupt.")
    with pytest.raises(KdpipeError):
        call(tmp_path)
    stage.ends = None
    call(tmp_path)
    assert stage.calls == 2
    assert markers(tmp_path) == []
    call(tmp_path, attempt=2)
    assert stage.calls == 3


@pytest.mark.parametrize("changed", [{"level": 1}, {"code": "d"}, {"out": "other"}], ids=str)
def test_failure_of_other_settings_code_or_target_does_not_count(tmp_path, stage, changed):
    stage.ends = KdpipeError("No.")
    with pytest.raises(KdpipeError):
        call(tmp_path)
    stage.ends = None
    call(tmp_path, attempt=2, **changed)
    assert stage.calls == 2


@pytest.mark.parametrize(
    "error",
    [PassingError("full"), StoppedError("ended", 15), KeyboardInterrupt(), MemoryError()],
    ids=repr,
)
def test_what_may_be_gone_next_time_is_tried_again(tmp_path, stage, error):
    stage.ends = error
    for attempt in (1, 2):
        with pytest.raises(PassingError if isinstance(error, MemoryError) else type(error)):
            call(tmp_path, attempt=attempt)
    assert stage.calls == 2
    assert markers(tmp_path) == []


def test_without_a_digest_of_the_code_nothing_is_noted(tmp_path, stage):
    stage.ends = KdpipeError("No.")
    for attempt in (1, 2):
        with pytest.raises(KdpipeError):
            call(tmp_path, code="", attempt=attempt)
    assert stage.calls == 2


def test_half_written_files_of_a_killed_process_are_removed(tmp_path, stage):
    half = [
        tmp_path / "tables" / ".transfer.csv.123.tmp",
        tmp_path / ".report.html.9.tmp",
    ]
    others = [tmp_path / "tables" / "transfer.csv", tmp_path / ".other.html.9.tmp"]
    for file in (*half, *others):
        file.parent.mkdir(exist_ok=True)
        file.touch()
    call(tmp_path, out="tables")
    call(tmp_path, out="report.html")
    assert not any(file.exists() for file in half)
    assert all(file.exists() for file in others)


def test_settings_that_are_not_valid_end_in_one_sentence(tmp_path, stage):
    with pytest.raises(KdpipeError, match=r"^--slice: there is no option 'lvel'\.$"):
        jobs.run_stage("fake", '{"lvel": 1}', tmp_path, tmp_path / "it")


# Locks

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


# Orphans

CHILD = "from kdpipe.run import orphan; import time; orphan.watch(); print('on', flush=True)"
# Like Snakemake: a process that announces itself and starts jobs through a shell.
PARENT = """
import subprocess, sys, time
from kdpipe.run import orphan
orphan.announce()
command = '"$0" -c "$1" > "$2"; true'
shell = subprocess.Popen(["bash", "-c", command, sys.executable, *sys.argv[1:]])
print(shell.pid, flush=True)
shell.wait()
time.sleep(60)
"""


def children(pid: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(words[1]) == pid and words[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


linux = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs Linux")


@linux
@pytest.mark.parametrize("victim", ["snakemake", "shell"])
def test_job_ends_when_something_above_it_is_killed(tmp_path, victim):
    log = tmp_path / "log"
    command = [sys.executable, "-c", PARENT, CHILD + "; time.sleep(60)", str(log)]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    shell = int(parent.stdout.readline())
    try:
        wait_for(lambda: log.exists() and log.read_text() == "on\n")
        (job,) = children(shell)
        time.sleep(0.3)
        assert alive(job)
        os.kill(parent.pid if victim == "snakemake" else shell, signal.SIGKILL)
        wait_for(lambda: not alive(job), 10)
        assert orphan.MESSAGE in log.read_text()
    finally:
        parent.kill()
        parent.wait()


def run_child(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", CHILD + "; time.sleep(0.5); print('done')"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )


@linux
def test_job_whose_snakemake_is_gone_already_does_not_start():
    gone = subprocess.Popen(["true"])
    gone.wait()
    done = run_child({orphan.VARIABLE: f"{gone.pid} {orphan._place()}"})
    assert done.returncode == 143
    assert done.stdout == orphan.MESSAGE + "\n"


@pytest.mark.parametrize("value", ["", "1 another-host pid:[1]"])
def test_outside_a_run_nothing_is_watched(value):
    done = run_child({orphan.VARIABLE: value})
    assert (done.returncode, done.stdout) == (0, "on\ndone\n")


# Like the Snakemake of a Slurm step, whose job takes no notice of being asked to end, or does.
NODE = """
import subprocess, sys, time
from kdpipe.run import orphan
orphan.watch_step()
job = subprocess.Popen(["bash", "-c", sys.argv[1]])
print(job.pid, flush=True)
time.sleep(60)
"""


@linux
@pytest.mark.parametrize("job", ["sleep 60", "trap '' TERM; sleep 60; sleep 60"])
def test_nothing_of_a_step_outlives_slurm(tmp_path, monkeypatch, job):
    # A process is named after the file that it was started from.
    (tmp_path / "slurmstepd").symlink_to(shutil.which("bash"))
    node = NODE.replace("orphan.watch", "orphan.GRACE_SECONDS = 1\norphan.watch")
    command = [tmp_path / "slurmstepd", "-c", '"$0" "$@"; true', sys.executable, "-c", node, job]
    environment = {**os.environ, "SLURM_JOB_ID": "1"}
    step = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    started = int(step.stdout.readline())
    (snakemake,) = children(step.pid)
    try:
        assert alive(started)
        step.kill()
        wait_for(lambda: not alive(snakemake), 10)
        assert not alive(started)
    finally:
        step.kill()
        step.wait()
        for pid in (snakemake, started):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


# The command line


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A study's folder with a small subset of the digits."""
    root = tmp_path_factory.mktemp("study")
    slice_ = subset.SubsetSlice(
        name="digits",
        source=PluginRef(name="digits"),
        size=28,
        split=subset.SplitFractions(train=0.6, val=0.2, test=0.2),
        seed=0,
        classes=None,
        per_class=10,
        domains={"grey": PluginRef(name="original")},
    )
    subset.run(slice_, Call(root, root / "subset/digits"))
    return root


def train(root: Path, recipe: Recipe, prefix: str = "", attempt: int = 1) -> subprocess.Popen:
    """Start the training of ``models/a/seed0`` as a rule does, output in ``log``."""
    ref = ModelRef(model="a")
    slice_ = TrainSlice(
        ref=ref,
        network=PluginRef(name="mnist_cnn"),
        data=Selection(set="digits", domains=["grey"]),
        augment=[],
        recipe=recipe,
        compute=Compute(),
    )
    words = ["train", "--root", str(root), "--out", str(root / ref.path), "--code", "c"]
    words += ["--slice", slice_.model_dump_json(), "--attempt", str(attempt)]
    command = f'{prefix}exec "$0" -m kdpipe "$@"'
    return subprocess.Popen(
        ["bash", "-c", command, sys.executable, *words],
        env={**os.environ, "KDPIPE_CHECKPOINT_SECONDS": "0"},
        stdout=(root / "log").open("w"),
        stderr=subprocess.STDOUT,
    )


def weights(root: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in (root / "models/a/seed0").iterdir()}


RECIPE = Recipe(epochs=6, batch_size=20)


@pytest.fixture(scope="module")
def uninterrupted(root: Path) -> dict[str, bytes]:
    assert train(root, RECIPE).wait() == 0, (root / "log").read_text()
    found = weights(root)
    assert set(found) == {"model.safetensors", "model.json", "history.parquet"}
    return found


@pytest.fixture
def emptied(root: Path, uninterrupted) -> Path:
    for file in (root / "models/a/seed0").iterdir():
        file.unlink()
    return root


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_terminated_training_says_so_and_goes_on_to_the_same_bytes(emptied, uninterrupted, number):
    process = train(emptied, RECIPE)
    log = emptied / "log"
    wait_for(lambda: "epoch   2/6" in log.read_text())
    process.send_signal(number)
    assert process.wait() == 128 + number
    last = log.read_text().splitlines()[-1]
    assert last == f"Training was ended by {number.name}; run it again to go on from here."
    assert weights(emptied) == {}
    assert train(emptied, RECIPE).wait() == 0
    assert log.read_text().startswith("Going on after epoch ")
    assert weights(emptied) == uninterrupted
    assert list((emptied / ".checkpoints").iterdir()) == []


def test_output_on_a_full_disk_ends_in_one_sentence(emptied):
    process = train(emptied, RECIPE, prefix="ulimit -f 100; ")
    assert process.wait() == 1
    lines = (emptied / "log").read_text().splitlines()
    assert lines[0].endswith("but would have to start again from an older one.")
    path = emptied / "models/a/seed0/model.safetensors"
    assert lines[-1].startswith(f"error: {path} cannot be written: File too large; make room")
    assert list((emptied / "models/a/seed0").iterdir()) == []
    assert not list(emptied.rglob("*.tmp"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_log_on_a_full_disk_ends_no_job(emptied, uninterrupted):
    assert train(emptied, RECIPE, prefix="exec > /dev/full 2>&1; ").wait() == 0
    assert weights(emptied) == uninterrupted


def test_loss_that_is_no_number_is_repeated_by_the_retry(emptied):
    recipe = Recipe(epochs=3, batch_size=20, optimizer="sgd", lr=1e30)
    assert train(emptied, recipe).wait() == 1
    said = (emptied / "log").read_text().splitlines()[-1]
    assert "became nan in epoch 1 (no epoch finished)" in said
    assert list((emptied / ".checkpoints").iterdir()) == []
    assert train(emptied, recipe, attempt=2).wait() == 1
    (again,) = (emptied / "log").read_text().splitlines()
    assert again.startswith(f"{said} (Not tried again")
