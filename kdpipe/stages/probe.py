"""Stage ``probe``: one network (beside one teacher), every property of one family."""

from __future__ import annotations

from collections.abc import Hashable
from functools import partial

from kdpipe.base.options import Options
from kdpipe.base.paths import TeacherRef, weights_of
from kdpipe.base.provenance import provenance, write_atomically
from kdpipe.probes.base import Bench, Probe
from kdpipe.probes.shared.records import write_left_out, write_records
from kdpipe.results.left_out import NotApplicableError, tried
from kdpipe.stages.base import Call, Stage
from kdpipe.stages.shared.bench import Instance, make, open_bench, read_calibration
from kdpipe.stages.shared.prepared import stored
from kdpipe.training.compute import Compute


class ProbeSettings(Options):
    study: str
    family: str
    subject: TeacherRef
    reference: TeacherRef | None
    instances: list[Instance]
    compute: Compute
    leave_out: bool = False
    """Whether a property that does not apply is left out with its reason, and is no error."""


def _place(probe: Probe) -> Hashable:
    """Data set, and how networks decide on its classes."""
    return probe.options.set, probe.options.class_map


def run(settings: ProbeSettings, call: Call) -> None:
    """Write ``<instance>.parquet`` for every instance into the folder ``call.out``."""
    settings.compute.start()
    made = {instance.name: make(instance) for instance in settings.instances}
    inputs = weights_of(settings.subject, call.root, "subject")
    if settings.reference is not None:
        inputs |= weights_of(settings.reference, call.root, "reference")
    about = {
        "study": settings.study,
        "family": settings.family,
        "subject": settings.subject.model_dump(),
        "reference": settings.reference.model_dump() if settings.reference else None,
        "provenance": provenance(settings, inputs),
    }
    benches: dict[Hashable, Bench] = {}
    for name, probe in made.items():
        where = _place(probe)
        if where not in benches:
            # One bench a data set: its clean forward passes serve every property.
            here = [p for p in made.values() if _place(p) == where]
            others = [network for p in here for network in type(p).networks(p.options)]
            beside = dict.fromkeys(name for p in here for name in type(p).sets(p.options))
            benches[where] = open_bench(
                call.root,
                str(probe.options.set),
                settings.subject,
                settings.reference,
                others,
                settings.compute,
                probe.options.class_map,
                beside,
            )
        bench = benches[where]
        meta = {
            **about,
            "instance": name,
            "probe": probe.name,
            "relational": probe.relational,
            "options": probe.options.model_dump(mode="json"),
        }
        try:
            if settings.reference is not None:
                looked_at = [settings.reference, *type(probe).networks(probe.options)]
                if probe.calibrated:
                    bench.calibrations = {
                        n.path: read_calibration(call.root, n, name) for n in looked_at
                    }
                bench.stored = stored(call.root, probe, name, looked_at) if probe.prepared else {}
            records = tried(partial(probe.measure, bench), leave_out=settings.leave_out)
        except NotApplicableError as left_out:
            write = partial(write_left_out, reason=str(left_out), about=meta)
            write_atomically(call.out / f"{name}.parquet", write)
            print(f"{name}: left out, because {left_out}", flush=True)
            continue
        records.check_primary(probe.name)
        write = partial(write_records, records=records, about=meta)
        write_atomically(call.out / f"{name}.parquet", write)
        print(f"{name}: {len(records)} records", flush=True)


STAGE = Stage(ProbeSettings, run)
