"""Stage ``tables``: from the record files of a study to its tables."""

from __future__ import annotations

from kdpipe.base.errors import KdpipeError
from kdpipe.results.settings import InstanceSettings, PairSettings, TablesSettings
from kdpipe.stages.base import Call, Stage

__all__ = ["InstanceSettings", "PairSettings", "TablesSettings", "run"]


def run(settings: TablesSettings, call: Call) -> None:
    """Write every table (``.parquet`` and ``.csv``) into ``call.out``.

    Raises KdpipeError
    naming a record file that is missing, or where none of the properties applies.
    """
    from kdpipe.base.chance import levels
    from kdpipe.results import gate
    from kdpipe.results.classes import class_rows
    from kdpipe.results.collect import read_study
    from kdpipe.results.controls import control_rows
    from kdpipe.results.left_out import reasons
    from kdpipe.results.looks import judged
    from kdpipe.results.measurements import measurement_rows
    from kdpipe.results.paper import paper_rows
    from kdpipe.results.transfer import transfer_rows
    from kdpipe.results.undecided import power_rows
    from kdpipe.results.write import write_table

    root, out = call.root, call.out
    found = read_study(settings, root)
    left_out = [
        row
        for pair in settings.pairs
        for instance in pair.instances
        for row in reasons(pair, instance, root)
    ]
    if left_out and not found:
        raise KdpipeError(
            f"None of the properties can be measured; the first, {left_out[0]['probe']}, because "
            f"{left_out[0]['reason']}; see whether the images and networks are those you mean."
        )
    looked_at = gate.read(root, (ref for pair in settings.pairs for _, ref in pair.everyone()))
    measurements = measurement_rows(settings.study, found)
    if settings.decide is None:
        transfer = transfer_rows(found, levels(looked_at))
        controls = control_rows(found, transfer)
    else:
        ended = judged(found, settings.decide, levels(looked_at))
        transfer, controls = ended.transfer, ended.controls
    write_table("measurements", measurements, out)
    write_table("transfer", transfer, out)
    write_table("controls", controls, out)
    write_table("classes", class_rows(transfer), out)
    write_table("left_out", left_out, out)
    write_table("power", power_rows(found, transfer), out)
    write_table("paper", paper_rows(settings.pairs, measurements, transfer), out)


STAGE = Stage(TablesSettings, run)
