"""One training in several processes, one a GPU: they start here, and end together.

Either ``torchrun`` started them, or the job that was asked for starts the others itself.
"""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch.distributed as dist

from kdpipe.base.errors import KdpipeError, PassingError, first_line
from kdpipe.training.compute import Compute


@contextmanager
def together(compute: Compute, stage: str, *arguments: Any) -> Iterator[None]:
    """Run the block in ``compute.processes`` processes, each of which calls the stage.

    ``stage`` is the module whose ``run(*arguments)`` contains the block. Raises KdpipeError where
    torchrun started another number of processes, PassingError when one of them is lost.
    """
    if compute.processes == 1 or dist.is_initialized():
        yield
    elif "RANK" in os.environ:
        found = os.environ.get("WORLD_SIZE", "1")
        if found != str(compute.processes):
            raise KdpipeError(
                f"torchrun started {found} processes, but the study says compute.processes: "
                f"{compute.processes}; start as many as it says."
            )
        _join(compute, "env://")
        try:
            yield
        finally:
            dist.destroy_process_group()
    else:
        with _others(compute, stage, arguments):
            yield


@contextmanager
def _others(compute: Compute, stage: str, arguments: tuple[Any, ...]) -> Iterator[None]:
    """Be number 0, and start the others on this machine."""
    import multiprocessing

    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="kdpipe-") as folder:
        meeting = f"file://{folder}/meeting"
        others = [
            context.Process(target=_member, args=(n, meeting, compute, stage, arguments))
            for n in range(1, compute.processes)
        ]
        for process in others:
            process.start()
        try:
            _join(compute, meeting, 0)
            yield
            for process in others:
                process.join()
        except RuntimeError as error:
            lost = [n for n, p in enumerate(others, 1) if p.exitcode]
            if not lost:
                raise
            raise PassingError(
                f"Process {lost[0]} of {compute.processes} was lost ({first_line(error)}); run it "
                f"again to go on from the last checkpoint."
            ) from None
        finally:
            with suppress(AssertionError, RuntimeError):
                dist.destroy_process_group()
            for process in others:
                # Not SIGTERM: who waits for a message of the others does not hear it.
                process.kill()
                process.join()


def _member(n: int, meeting: str, compute: Compute, stage: str, arguments: tuple[Any, ...]) -> None:
    """What every other process does: the same stage. Number 0 tells how it went."""
    import signal

    # Number 0 hears the signals, and ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.update(RANK=str(n), LOCAL_RANK=str(n))
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115  (open until the process ends)
    _join(compute, meeting, n)
    importlib.import_module(stage).run(*arguments)


def _join(compute: Compute, meeting: str, rank: int = -1) -> None:
    """Meet the other processes."""
    compute.start()
    backend = "nccl" if compute.device == "cuda" else "gloo"
    size = compute.processes if rank >= 0 else -1
    dist.init_process_group(backend, init_method=meeting, rank=rank, world_size=size)
