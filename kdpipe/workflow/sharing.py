"""What a shared output depends on besides settings, code and inputs.

Snakemake's between-workflow cache knows an output by the parameters of its job and of the jobs
before it. Settings and code are among those. Added here: the versions of packages, what the
processor does with a sum, and the data on disk.
"""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kdpipe.base.errors import KdpipeError
from kdpipe.base.machine import gpu_names, read_cpu_flags
from kdpipe.base.paths import expanded
from kdpipe.base.provenance import canonical, versions
from kdpipe.plan.job import Job

VARIABLE = "SNAKEMAKE_OUTPUT_CACHE"
# Instruction sets for which torch and its libraries have kernels of their own.
KERNELS = {"avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16"}
# Of a folder with more files than this, names and sizes have to do.
MANY_FILES = 1000
FIRST_BYTES = 2**20


def in_use() -> bool:
    """Whether the environment names a folder for Snakemake's between-workflow cache."""
    return bool(os.environ.get(VARIABLE))


def surroundings(job: Job) -> str:
    """One string for everything of that kind; empty where no cache is in use."""
    if not in_use():
        return ""
    found: dict[str, Any] = {
        "versions": versions(),
        "machine": platform.machine(),
        "kernels": sorted(read_cpu_flags() & KERNELS),
        "gpu": gpu_names(),
    }
    if job.stage == "subset":
        found["data"] = data_digest(job, os.environ.get("KDPIPE_DATA"))
    return canonical(found)


def data_digest(job: Job, root: str | None) -> str:
    """SHA-256 over the listing of a subset's source and the files that its settings name."""
    settings: Any = job.settings
    folder = Path(root) if root else None
    total = hashlib.sha256()
    try:
        listing = settings.source.make(folder).listing()
    except KdpipeError:
        return "absent"  # the job will say what is missing
    for part in (part for name, part in vars(listing).items() if name != "notes"):
        text = "\n".join(map(str, part)) if part is not None else ""
        total.update(f"{text}\0".encode())
    plugins = (settings.source, *settings.domains.values())
    for name in _words([plugin.as_json()["options"] for plugin in plugins]):
        for line in _files(
            expanded(root or ".") / expanded(name)
        ):  # an absolute path stays as it is
            total.update(line)
    return total.hexdigest()


def _words(value: Any) -> Iterator[str]:
    """Every string of the options: some of them are paths."""
    if isinstance(value, str) and 0 < len(value.strip("./")) < 1000:
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _words(part)


def _files(path: Path) -> Iterator[bytes]:
    """A line for each file at or under ``path``: name, size, and how it begins."""
    if path.is_file():
        files = [path]
    else:
        files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else []
    for file in files:
        yield f"{file.relative_to(path)}\0{file.stat().st_size}\n".encode()
        if len(files) <= MANY_FILES:
            with file.open("rb") as stream:
                yield hashlib.sha256(stream.read(FIRST_BYTES)).digest()
