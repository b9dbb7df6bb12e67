"""What this machine has: GPUs that a process may use, and features of its processor.

Looks at the operating system, not at torch, so that planning a study stays quick.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

VISIBLE = "CUDA_VISIBLE_DEVICES"
# What Slurm gave to the step, else to the job: numbers that mean the same in the whole machine,
# while CUDA's may count from 0 within every job.
BINDINGS = ("SLURM_STEP_GPUS", "SLURM_JOB_GPUS")


def visible() -> dict[str, str]:
    """The devices that this process may use: CUDA's name to one that the whole machine shares."""
    bound = next((_words(os.environ[v]) for v in BINDINGS if os.environ.get(v)), [])
    if VISIBLE in os.environ:
        names = _words(os.environ[VISIBLE])
    else:
        # CUDA counts from 0 whatever the numbers of the devices that a container shows.
        installed = _installed()
        names = bound or [str(number) for number in range(len(installed))]
        bound = bound or installed
    # CUDA takes the devices up to the first that it does not know, such as -1.
    for number, name in enumerate(names):
        if name.startswith("-") or name == "NoDevFiles":
            names = names[:number]
            break
    identities = bound if len(bound) == len(names) else names
    return dict(zip(names, identities, strict=True))


def _installed() -> list[str]:
    """The numbers of this machine's NVIDIA devices."""
    found = [p.name.removeprefix("nvidia") for p in Path("/dev").glob("nvidia[0-9]*")]
    return sorted((name for name in found if name.isdigit()), key=int)


def _words(text: str) -> list[str]:
    return [word for word in re.split(r"[,\s]+", text) if word]


def has_gpu() -> bool:
    """Whether a job of this process would see a GPU: CUDA_VISIBLE_DEVICES may hide all of them."""
    return bool(visible())


def gpu_names() -> list[str]:
    """The kinds of NVIDIA GPU in this machine, as its driver calls them."""
    names = set()
    for path in Path("/proc/driver/nvidia/gpus").glob("*/information"):
        for line in path.read_text().splitlines():
            if line.startswith("Model:"):
                names.add(line.partition(":")[2].strip())
    return sorted(names)


def read_cpu_flags() -> frozenset[str]:
    """Feature words of the first processor (Linux); empty elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    for line in lines:
        if line.startswith("flags"):
            return frozenset(line.split(":", 1)[1].split())
    return frozenset()
