"""The file of the stage ``prepare``: what a probe needs of one network, domain by domain."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kdpipe.base.paths import TeacherRef, folder_name, prepared_file
from kdpipe.base.provenance import in_order, write_atomically
from kdpipe.probes.base import Part, Probe
from kdpipe.results.left_out import NotApplicableError

ABOUT = "about"
"""The one key of a file's metadata: safetensors writes several in an order that changes from run to
run, and with them the bytes of the file."""


def write_prepared(
    path: Path,
    domains: Mapping[str, Sequence[Part]],
    about: Mapping[str, Any],
    *,
    left_out: str = "",
    not_stored: str = "",
) -> None:
    """Write the parts of each domain: contiguous tensors that share no memory.

    ``left_out``: why the probe does not apply to the other domains. ``not_stored``: why nothing is
    stored, so that every student's job computes it.
    """
    from safetensors.torch import save_file

    tensors = {
        f"{folder_name(domain)}/{number}/{name}": tensor
        for domain, parts in domains.items()
        for number, part in enumerate(parts)
        for name, tensor in part.items()
    }
    words = {**about, "left_out": left_out, "not_stored": not_stored}
    metadata = {ABOUT: in_order(words)}
    write_atomically(path, lambda place: save_file(tensors, place, metadata))


def read_prepared(path: Path) -> Callable[[str], Iterator[Part]] | None:
    """The parts of a domain, read one by one; None where they are not stored."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        about, keys = json.loads(file.metadata()[ABOUT]), list(file.keys())
    if about["not_stored"]:
        return None
    found: dict[str, dict[int, dict[str, str]]] = {}
    for key in keys:
        domain, number, name = key.split("/", 2)
        found.setdefault(domain, {}).setdefault(int(number), {})[name] = key

    def parts(domain: str) -> Iterator[Part]:
        stored = found.get(folder_name(domain), {})
        if not stored and about["left_out"]:
            raise NotApplicableError(about["left_out"])
        with safe_open(path, framework="pt") as file:
            for number in range(len(stored)):
                yield {name: file.get_tensor(key) for name, key in stored[number].items()}

    return parts


def stored(
    root: Path, probe: Probe, instance: str, networks: Iterable[TeacherRef]
) -> dict[str, Callable[[str], Iterator[Part]]]:
    """Of each network, by its path, what the stage stored for ``probe``."""
    options = probe.options
    files = {n.path: prepared_file(n, instance, options.set, options.domains) for n in networks}
    read = {network: read_prepared(root / file) for network, file in files.items()}
    return {network: parts for network, parts in read.items() if parts is not None}
