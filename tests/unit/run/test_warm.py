"""A job on the warm server ends as it would without it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from helpers.places import REPOSITORY
from kdpipe.run import warm

SLEEPER = "import time; print('asleep', flush=True); time.sleep(60)"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    path = str(tmp_path_factory.mktemp("warm") / "socket")
    process = subprocess.Popen([sys.executable, "-m", "kdpipe.run.warm", path, str(os.getpid())])
    wait_for(lambda: Path(path).exists())
    yield path
    process.kill()
    process.wait()


def wait_for(condition: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def start(server: str, *argv: str, folder: Path, **variables: str) -> subprocess.Popen[str]:
    environment = {**os.environ, warm.VARIABLE: server, **variables}
    return subprocess.Popen(
        [sys.executable, "-m", "kdpipe", *argv],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def fake_kdpipe(folder: Path, body: str) -> Path:
    """A package of the same name whose command line is ``body``, to see what a job does."""
    package = folder / "kdpipe"
    (package / "run").mkdir(parents=True)
    for name in ("__init__.py", "__main__.py", "run/__init__.py", "run/warm.py", "run/orphan.py"):
        shutil.copy(REPOSITORY / "kdpipe" / name, package / name)
    lines = ["def main():", *(f"    {line}" for line in body.splitlines())]
    (package / "cli.py").write_text("\n".join(lines))
    return folder


def test_output_errors_and_status_are_the_clients(server, tmp_path):
    body = (
        "import os, sys\n"
        "print(os.getcwd(), os.environ['GIVEN'], sys.argv[1:])\n"
        "print('to the errors', file=sys.stderr)\n"
        "sys.exit(7)"
    )
    folder = fake_kdpipe(tmp_path, body)
    job = start(server, "probe", "--out", "x y", folder=folder, GIVEN="value")
    out, errors = job.communicate(timeout=60)
    assert out.strip() == f"{folder} value ['probe', '--out', 'x y']"
    assert errors.strip() == "to the errors"
    assert job.returncode == 7


def test_job_is_forked_from_the_server_and_has_its_modules(server, tmp_path):
    body = "import os, sys\nprint('torch' in sys.modules, os.getppid())"
    job = start(server, folder=fake_kdpipe(tmp_path, body))
    out, _ = job.communicate(timeout=60)
    loaded, parent = out.split()
    assert loaded == "True"
    assert int(parent) not in (os.getpid(), job.pid)
    assert job.returncode == 0


def test_a_message_in_place_of_a_status_is_printed_and_means_failure(server, tmp_path):
    job = start(server, folder=fake_kdpipe(tmp_path, "import sys\nsys.exit('no such thing')"))
    assert job.communicate(timeout=60)[1].strip() == "no such thing"
    assert job.returncode == 1


def test_the_job_runs_the_code_that_lies_on_the_disk_when_it_starts(server, tmp_path):
    folder = fake_kdpipe(tmp_path, "print('before')")
    assert start(server, folder=folder).communicate(timeout=60)[0].strip() == "before"
    (folder / "kdpipe" / "cli.py").write_text("def main():\n    print('after the edit')")
    assert start(server, folder=folder).communicate(timeout=60)[0].strip() == "after the edit"


def test_signals_reach_the_job(server, tmp_path):
    body = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\n"
        "print('ready', flush=True)\n"
        "time.sleep(60)"
    )
    job = start(server, folder=fake_kdpipe(tmp_path, body))
    assert job.stdout is not None
    assert job.stdout.readline().strip() == "ready"
    job.send_signal(signal.SIGTERM)
    assert job.wait(30) == 143


def test_a_killed_client_takes_its_job_along(server, tmp_path):
    body = f"import os\nprint(os.getpid(), flush=True)\n{SLEEPER}"
    job = start(server, folder=fake_kdpipe(tmp_path, body))
    assert job.stdout is not None
    pid = int(job.stdout.readline())
    assert Path(f"/proc/{pid}").exists()
    job.kill()
    wait_for(lambda: not Path(f"/proc/{pid}").exists(), 10)


def test_a_killed_job_ends_its_client_with_a_failure(server, tmp_path):
    body = f"import os\nprint(os.getpid(), flush=True)\n{SLEEPER}"
    job = start(server, folder=fake_kdpipe(tmp_path, body))
    assert job.stdout is not None
    os.kill(int(job.stdout.readline()), signal.SIGKILL)
    assert job.wait(30) == warm.LOST


@pytest.mark.parametrize("path", ["off", "/nowhere/socket"])
def test_without_a_server_the_job_runs_by_itself(tmp_path, path):
    folder = fake_kdpipe(tmp_path, "import os\nprint(os.getppid())")
    job = start(path, folder=folder)
    assert int(job.communicate(timeout=60)[0]) == os.getpid()
    assert job.returncode == 0


def test_the_server_ends_with_the_process_that_started_it(tmp_path):
    program = (
        "import os, time\n"
        "from kdpipe.run import warm\n"
        "warm.start()\n"
        "while not os.path.exists(os.environ[warm.VARIABLE]):\n"
        "    time.sleep(0.05)"
    )
    environment = {k: v for k, v in os.environ.items() if k != warm.VARIABLE}
    environment["TMPDIR"] = str(tmp_path)
    subprocess.run([sys.executable, "-c", program], check=True, env=environment, timeout=60)
    wait_for(lambda: not list(tmp_path.glob("kdpipe-*")), 120)


def test_what_two_jobs_have_imported_the_third_finds_imported(server, tmp_path):
    """A module of an installed package that the server does not load by itself."""
    body = (
        "import sys\n"
        "print('torchvision.datasets.phototour' in sys.modules)\n"
        "import torchvision.datasets.phototour, kdpipe.run.orphan"
    )
    folder = fake_kdpipe(tmp_path, body)
    before = []

    def found() -> bool:
        out, errors = start(server, folder=folder).communicate(timeout=60)
        assert not errors
        before.append(out.strip())
        return before[-1] == "True"

    wait_for(found)
    assert before[:2] == ["False", "False"]
    assert_fresh_code(server, folder)


def assert_fresh_code(server: str, folder: Path) -> None:
    """Nothing of kdpipe was imported with it."""
    (folder / "kdpipe/cli.py").write_text("def main():\n    print('edited')")
    out, _ = start(server, folder=folder).communicate(timeout=60)
    assert out.strip() == "edited"
