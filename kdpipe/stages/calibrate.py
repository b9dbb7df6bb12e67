"""Stage ``calibrate``: settings of a probe that are fitted once per attacked network."""

from __future__ import annotations

from functools import partial

from kdpipe.base.options import Options
from kdpipe.base.paths import ModelRef, StudentRef
from kdpipe.base.provenance import provenance, write_json
from kdpipe.results.left_out import NotApplicableError, tried
from kdpipe.stages.base import Call, Stage
from kdpipe.stages.shared.bench import Instance, make, open_bench
from kdpipe.training.compute import Compute


class CalibrateSettings(Options):
    network: ModelRef | StudentRef
    instance: Instance
    compute: Compute
    leave_out: bool = False
    """As in a probe's settings."""


def run(settings: CalibrateSettings, call: Call) -> None:
    """Write the calibrated settings, with what they reached, to ``call.out`` (JSON)."""
    settings.compute.start()
    probe = make(settings.instance)
    bench = open_bench(
        call.root,
        probe.options.set,
        settings.network,
        None,
        [],
        settings.compute,
        probe.options.class_map,
    )
    try:
        found = tried(partial(probe.calibrate, bench), leave_out=settings.leave_out)
    except NotApplicableError as left_out:
        found = {"left_out": str(left_out)}
    weights = {"network": call.root / settings.network.path / "model.safetensors"}
    print(", ".join(f"{key} {value}" for key, value in found.items()), flush=True)
    write_json(call.out, {**found, "provenance": provenance(settings, weights)})


STAGE = Stage(CalibrateSettings, run)
