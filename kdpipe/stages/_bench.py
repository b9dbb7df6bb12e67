"""Set up the networks and images that a probe job or a calibration looks at."""

from __future__ import annotations

import json
from pathlib import Path

from kdpipe.data.class_maps.base import class_maps
from kdpipe.data.store import Subset
from kdpipe.errors import KdpipeError
from kdpipe.models._readout import ClassReadout, read_by_name
from kdpipe.options import Options
from kdpipe.paths import ModelRef, NetworkRef, calibration_file, subset_dir
from kdpipe.plugin import PluginRef
from kdpipe.probes.base import Bench, Probe, probes
from kdpipe.training.artefact import load
from kdpipe.training.compute import Compute


class Instance(Options):
    """One property as the study wants it: file stem, probe and complete options."""

    name: str
    probe: PluginRef


def make(instance: Instance) -> Probe:
    cls = probes.get(instance.probe.name)
    return cls(cls.Options(**instance.probe.options))


def open_bench(
    root: Path,
    set_name: str,
    subject: NetworkRef,
    reference: ModelRef | None,
    others: list[ModelRef],
    compute: Compute,
    class_map: PluginRef | None = None,
) -> Bench:
    """Load the networks; a network that appears twice is loaded once, so that its forward
    passes are shared.

    A network that has the classes of the data set in another order is read by their names, one
    that has other classes by ``class_map``. Raises KdpipeError where there is none.
    """
    loaded = {
        path: load(root / path, compute.device)
        for path in {n.path for n in (subject, *others, *([reference] if reference else []))}
    }
    subset = Subset(root / subset_dir(set_name))
    for path, network in loaded.items():
        classes = json.loads((root / path / "model.json").read_text())["classes"]
        if classes == subset.classes:
            continue
        if sorted(classes) == sorted(subset.classes):
            read_by_name(network, classes, subset.classes)
            continue
        if class_map is None:
            raise KdpipeError(
                f"{path} was trained on the classes {_some(classes)}, but data set '{set_name}' "
                f"has {_some(subset.classes)}; probe it on a set of its own task, or give "
                f"data.sets.{set_name} a class_map."
            )
        cls = class_maps.get(class_map.name)
        options = cls.Options(**class_map.options)
        groups = cls(options).rows(subset.classes, classes)
        network.readout = ClassReadout(groups, options.reduce).to(compute.device)
    return Bench(
        subset=subset,
        subject=loaded[subject.path],
        reference=loaded[reference.path] if reference else None,
        reference_ref=reference,
        others={n.path: loaded[n.path] for n in others},
        compute=compute,
        classes=subset.classes,
    )


def _some(names: list[str], most: int = 12) -> str:
    return ", ".join(names[:most]) + (f" … ({len(names)})" if len(names) > most else "")


def read_calibration(root: Path, network: ModelRef, instance: str) -> dict[str, object]:
    return json.loads((root / calibration_file(network, instance)).read_text())
