"""A warm start for many short jobs: one process imports torch, and every job is a fork of it.

Importing torch takes longer than most probes. While Snakemake runs jobs on this machine, a server
waits at a socket; a job sends it its command, folder, environment and standard streams, and the
server's fork runs the job and sends back how it ended. What two jobs have imported beyond that,
such as the CAM library, the server imports for those that follow. Nothing of kdpipe is imported
before the fork, so that a job runs the code that lies on the disk when it starts. Where no server
answers, a job runs by itself; only the time differs.

This module is imported by every job first: it imports nothing that takes time.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import signal
import socket
import sys
from contextlib import suppress
from typing import NoReturn

VARIABLE = "KDPIPE_WARM"
FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
MESSAGE = 2**18
"""Longest list of modules, in bytes."""
LOST = 137
"""Exit status of a job whose process was killed, as a shell reports it."""


def ask(argv: list[str]) -> int | None:
    """Let the server run ``python -m kdpipe argv``; its exit status, or None without a server."""
    path = os.environ.get(VARIABLE)
    if not path:
        return None
    connection = socket.socket(socket.AF_UNIX)
    # A signal that comes before this process knows its job waits until it can be sent on.
    signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)
    try:
        connection.connect(path)
        request = {"argv": argv, "cwd": os.getcwd(), "environ": dict(os.environ)}
        body = json.dumps(request).encode()
        header = f"{len(body):016d}".encode()
        socket.send_fds(connection, [header], [0, 1, 2])
        connection.sendall(body)
        pid = int(_exactly(connection, 16))
    except (OSError, ValueError):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED)
        return None  # the server went away before it began: nothing has run
    from kdpipe.run import orphan

    orphan.watch()  # the job watches the server's side, this process its own
    for number in FORWARDED:
        signal.signal(number, lambda n, _frame: _send_signal(pid, n))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED)
    with suppress(OSError, ValueError):
        return int(_exactly(connection, 16))
    return LOST


def start() -> None:
    """Start a server for the jobs that this process starts, unless the environment names one.

    ``KDPIPE_WARM=off`` keeps every job to itself. The server ends with this process.
    """
    if VARIABLE in os.environ:
        return
    import subprocess
    import tempfile

    path = os.path.join(tempfile.mkdtemp(prefix="kdpipe-"), "socket")
    subprocess.Popen(
        [sys.executable, "-m", "kdpipe.run.warm", path, str(os.getpid())],
        start_new_session=True,  # Ctrl-C is for the jobs; the server sees its parent go
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.environ[VARIABLE] = path


def serve(path: str, parent: int) -> NoReturn:
    """Answer at the socket ``path`` until the process ``parent``, that of this one, ends."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(128)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for a job but its client
    del sys.path[0]  # the server's own folder is none of a job's business
    _preload()
    told, tell = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    once: set[str] = set()
    while os.getppid() == parent:
        ready, _, _ = select.select([listener, told], [], [], 1.0)
        if listener in ready:
            connection, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                told.close()
                _run(connection, tell)
            connection.close()
        elif told in ready:  # jobs come first
            once = _learn(json.loads(told.recv(MESSAGE)), once)
    with suppress(OSError):
        os.unlink(path)
        os.rmdir(os.path.dirname(path))
    os._exit(0)


def _preload() -> None:
    """What most jobs import, and no code of ours."""
    import pyarrow.parquet  # noqa: F401
    import pydantic  # noqa: F401
    import safetensors.torch  # noqa: F401
    import torch._dynamo  # noqa: F401  (torch's optimisers import it at their first step)
    import typer  # noqa: F401


def _learn(names: list[str], once: set[str]) -> set[str]:
    """Import modules that a job before has told of as well; returns those told of once."""
    import importlib

    for name in names:
        if name in once:
            with suppress(Exception):  # then the jobs import it, or fail, by themselves
                importlib.import_module(name)
    return once | set(names)


def _of_others(names: set[str]) -> list[str]:
    """Those of the imported modules that belong to installed packages."""
    found = []
    for name in names:
        origin = getattr(getattr(sys.modules[name], "__spec__", None), "origin", None) or ""
        if "site-packages" in origin and name.partition(".")[0] != "kdpipe":
            found.append(name)
    return sorted(found)


def _run(connection: socket.socket, tell: socket.socket) -> NoReturn:
    """One job, in a process of its own."""
    status, known = LOST, set(sys.modules)
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        header, streams, _, _ = socket.recv_fds(connection, 16, 3)
        request = json.loads(_exactly(connection, int(header)))
        for own, given in enumerate(streams):
            os.dup2(given, own)
            os.close(given)
        os.chdir(request["cwd"])
        os.environ.clear()
        os.environ.update(request["environ"])
        os.environ.pop(VARIABLE, None)  # what the job starts is on its own
        connection.sendall(f"{os.getpid():016d}".encode())
        _end_with(connection)
        sys.argv = ["kdpipe", *request["argv"]]
        sys.path[:] = _search_path(request["environ"])
        for name in [m for m in sys.modules if m.partition(".")[0] == "kdpipe"]:
            del sys.modules[name]  # the job's own copy, as it is now
        status = _call()
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        connection.sendall(f"{status:016d}".encode())
        with suppress(OSError):  # too long, or too many wait to be read
            tell.setblocking(False)
            tell.send(json.dumps(_of_others(set(sys.modules) - known)).encode())
    finally:
        os._exit(status)


def _call() -> int:
    # By name: the command line imports this module.
    cli = importlib.import_module("kdpipe.cli")

    try:
        cli.main()
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    except BaseException:
        import traceback

        traceback.print_exc()
        return 1
    return 0


def _search_path(environ: dict[str, str]) -> list[str]:
    """Where the job looks for modules first: its own folder and PYTHONPATH."""
    first = ["", *filter(None, environ.get("PYTHONPATH", "").split(os.pathsep))]
    return [*first, *(p for p in sys.path if p not in first)]


def _end_with(connection: socket.socket) -> None:
    """A job whose client was killed ends at once: no Snakemake would wait for it."""
    import threading

    def watch() -> None:
        with suppress(OSError):
            connection.recv(1)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def _send_signal(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _exactly(connection: socket.socket, count: int) -> bytes:
    parts = b""
    while len(parts) < count:
        part = connection.recv(count - len(parts))
        if not part:
            raise OSError("the connection was closed")
        parts += part
    return parts


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
