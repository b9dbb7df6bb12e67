"""Stage ``prepare``: what a probe needs of a teacher or attacker, once for all students."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from kdpipe.base.options import Options
from kdpipe.base.paths import ModelRef, StudentRef
from kdpipe.base.provenance import provenance
from kdpipe.probes.base import Bench, Part, Probe
from kdpipe.results.left_out import NotApplicableError, tried
from kdpipe.stages.base import Call, Stage
from kdpipe.stages.shared.bench import Instance, make, open_bench, read_calibration
from kdpipe.stages.shared.prepared import write_prepared
from kdpipe.training.compute import Compute


class PrepareSettings(Options):
    network: ModelRef | StudentRef
    instance: Instance
    limit_gb: float
    compute: Compute
    leave_out: bool = False
    """As in a probe's settings."""


def run(settings: PrepareSettings, call: Call) -> None:
    """Write what the probe prepares for each domain to ``call.out`` (safetensors).

    What would take more than the limit is not stored: every student's job computes it.
    """
    settings.compute.start()
    network, probe = settings.network, make(settings.instance)
    options = probe.options
    bench = open_bench(
        call.root, options.set, network, network, [], settings.compute, options.class_map
    )
    made: dict[str, list[Part]] = {}
    not_stored = left_out = ""
    try:
        if probe.calibrated:
            fitted = read_calibration(call.root, network, settings.instance.name)
            bench.calibrations = {network.path: fitted}
        fill = partial(_fill, made, probe, bench, settings.limit_gb)
        not_stored = tried(fill, leave_out=settings.leave_out)
    except NotApplicableError as reason:
        left_out = str(reason)
    print(not_stored or left_out or f"{sum(map(len, made.values()))} parts", flush=True)
    weights = {"network": call.root / network.path / "model.safetensors"}
    about = provenance(settings, weights)
    write_prepared(call.out, made, about, left_out=left_out, not_stored=not_stored)


def _fill(made: dict[str, list[Part]], probe: Probe, bench: Bench, limit_gb: float) -> str:
    """Add the parts of every domain to ``made``; returns why not, where they are too large."""
    size = 0
    for images in bench.image_sets(probe.options):
        size += probe.prepared_bytes(probe.options, len(images), bench.subset.size)
        if size > limit_gb * 1e9:
            made.clear()
            return (
                f"Nothing is stored, because it would take {size / 1e9:.3g} GB or more, and "
                f"compute.prepared_gb is {limit_gb:g}."
            )
        parts = bench.prepared(probe, images)
        made[images.domain] = [{name: _kept(x) for name, x in part.items()} for part in parts]
    return ""


def _kept(x: Tensor) -> Tensor:
    """A copy as it is stored; the file's format allows none that shares memory with another."""
    return x.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)


STAGE = Stage(PrepareSettings, run)
