"""Shared code of the benchmarks: interleaved timing, data, the machine, and CSV files."""

from __future__ import annotations

import csv
import gzip
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kdpipe.base.machine import read_cpu_flags
from kdpipe.workflow.snakefile import ALLOCATOR

RESULTS = Path(__file__).parent / "results"
Row = dict[str, Any]


def as_a_job() -> None:
    """Start this program again with the allocator's settings that Snakemake's jobs get."""
    if any(name not in os.environ for name in ALLOCATOR):
        os.environ.update(ALLOCATOR)
        os.execv(sys.executable, [sys.executable, *sys.argv])


def interleaved(
    contestants: Mapping[str, Callable[[], object]],
    repeats: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Seconds of each contestant, (repeats,), in turns: what else the machine does hits all.

    ``clock``: ``time.process_time`` leaves out what others do on the processor, and waiting.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for run in contestants.values():
        run()  # warm
    for _ in range(repeats):
        for name, run in contestants.items():
            start = clock()
            run()
            seconds[name].append(clock() - start)
    return seconds


def ratio(over: Iterable[float], under: Iterable[float]) -> tuple[float, float, float]:
    """Median, lowest and highest ratio of the turns."""
    found = [a / b for a, b in zip(over, under, strict=True)]
    return statistics.median(found), min(found), max(found)


def mnist(root: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 (n, 28, 28) and labels (n,) of ``train`` or ``t10k``, from the IDX files."""
    folder = root / "MNIST/raw"
    arrays = []
    for kind, before in (("images-idx3", 16), ("labels-idx1", 8)):
        raw = gzip.decompress((folder / f"{part}-{kind}-ubyte.gz").read_bytes())
        arrays.append(np.frombuffer(raw, np.uint8, offset=before))
    return arrays[0].reshape(-1, 28, 28), arrays[1].astype(np.int64)


def machine() -> str:
    """One line: processor, cores, what it multiplies in hardware, versions."""
    names = [
        x for x in Path("/proc/cpuinfo").read_text().splitlines() if x.startswith("model name")
    ]
    model = names[0].split(":")[1].strip() if names else platform.machine()
    short = sorted(read_cpu_flags() & {"avx512_bf16", "amx_bf16"})
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return (
        f"{model}, {os.cpu_count()} cores, {', '.join(short) or 'no bf16'}, {gpu}, "
        f"Python {platform.python_version()}, torch {torch.__version__}"
    )


def write(name: str, rows: list[Row]) -> None:
    """Print the rows and write them to ``benchmarks/results/<name>.csv``."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.csv"
    keys = list(dict.fromkeys(key for row in rows for key in row))
    with open(path, "w", newline="") as stream:
        table = csv.DictWriter(stream, keys, lineterminator="\n")
        table.writeheader()
        for row in rows:
            table.writerow({k: f"{v:.4g}" if isinstance(v, float) else v for k, v in row.items()})
    (RESULTS / f"{name}.machine.txt").write_text(machine() + "\n")
    print(path.read_text(), f"\n{machine()}\n{path}", sep="")
