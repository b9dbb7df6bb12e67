"""Set up the networks and images that a probe job or a calibration looks at."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from kdpipe.base.options import Options
from kdpipe.base.paths import ModelRef, TeacherRef, calibration_file, subset_dir
from kdpipe.base.plugin import PluginRef
from kdpipe.data.store import Subset
from kdpipe.probes import ProbeRef
from kdpipe.probes.base import Bench, Probe
from kdpipe.results.left_out import NotApplicableError
from kdpipe.stages.shared.classes import load_for
from kdpipe.training.compute import Compute


class Instance(Options):
    """One property as the study wants it: file stem, probe and complete options."""

    name: str
    probe: ProbeRef


def make(instance: Instance) -> Probe:
    return instance.probe.make()


def open_bench(
    root: Path,
    set_name: str,
    subject: TeacherRef,
    reference: TeacherRef | None,
    others: list[ModelRef],
    compute: Compute,
    class_map: PluginRef | None = None,
    beside: Iterable[str] = (),
) -> Bench:
    """Load the networks; a network that appears twice is loaded once, so that its forward
    passes are shared.

    Each has logits for the classes of the data set, see :func:`load_for`. ``beside``: further data
    sets that probes look at.
    """
    subset = Subset(root / subset_dir(set_name))
    refs = {n.path: n for n in (subject, *others, *([reference] if reference else []))}
    loaded = {
        path: load_for(root, ref, subset, set_name, class_map, compute.device)
        for path, ref in refs.items()
    }
    return Bench(
        subset=subset,
        subject=loaded[subject.path],
        reference=loaded[reference.path] if reference else None,
        reference_ref=reference,
        others={n.path: loaded[n.path] for n in others},
        compute=compute,
        classes=subset.classes,
        beside={name: Subset(root / subset_dir(name)) for name in beside},
    )


def read_calibration(root: Path, network: TeacherRef, instance: str) -> dict[str, Any]:
    """Settings of a probe that were fitted to ``network``.

    Raises NotApplicableError where there was nothing to fit them to.
    """
    found = json.loads((root / calibration_file(network, instance)).read_text())
    if "left_out" in found:
        raise NotApplicableError(found["left_out"])
    return {key: value for key, value in found.items() if key != "provenance"}
