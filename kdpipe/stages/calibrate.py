"""Stage ``calibrate``: settings of a probe that are fitted once per attacked network."""

from __future__ import annotations

from pathlib import Path

from kdpipe.options import Options
from kdpipe.paths import ModelRef
from kdpipe.provenance import provenance, write_json
from kdpipe.stages._bench import Instance, make, open_bench
from kdpipe.training.compute import Compute


class CalibrateSlice(Options):
    network: ModelRef
    instance: Instance
    compute: Compute


def run(slice_: CalibrateSlice, root: Path, out: Path) -> None:
    """Write the calibrated settings, with what they reached, to ``out`` (JSON)."""
    slice_.compute.start()
    probe = make(slice_.instance)
    bench = open_bench(
        root,
        probe.options.set,
        slice_.network,
        None,
        [],
        slice_.compute,
        probe.options.class_map,
    )
    found = probe.calibrate(bench)
    weights = {"network": root / slice_.network.path / "model.safetensors"}
    print(", ".join(f"{key} {value}" for key, value in found.items()), flush=True)
    write_json(out, {**found, "provenance": provenance(slice_, weights)})
