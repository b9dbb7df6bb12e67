"""Stage ``tables``: from the record files of a study to its tables."""

from __future__ import annotations

from pathlib import Path

from kdpipe.base.errors import KdpipeError
from kdpipe.results.slices import InstanceSlice, PairSlice, TablesSlice

__all__ = ["InstanceSlice", "PairSlice", "TablesSlice", "run"]


def run(slice: TablesSlice, root: Path, out: Path) -> None:
    """Write every table (``.parquet`` and ``.csv``) into ``out``.

    ``root``: the study's folder of results, under which the record files lie. Raises KdpipeError
    naming a record file that is missing, or where none of the properties applies.
    """
    from kdpipe.base.chance import levels
    from kdpipe.results import gate
    from kdpipe.results.collect import read_study
    from kdpipe.results.controls import control_rows
    from kdpipe.results.left_out import reasons
    from kdpipe.results.measurements import measurement_rows
    from kdpipe.results.paper import paper_rows
    from kdpipe.results.transfer import transfer_rows
    from kdpipe.results.write import write_table

    found = read_study(slice, Path(root))
    left_out = [
        row
        for pair in slice.pairs
        for instance in pair.instances
        for row in reasons(pair, instance, Path(root))
    ]
    if left_out and not found:
        raise KdpipeError(
            f"None of the properties can be measured; the first, {left_out[0]['probe']}, because "
            f"{left_out[0]['reason']}; see whether the images and networks are those you mean."
        )
    looked_at = gate.read(Path(root), (ref for pair in slice.pairs for _, ref in pair.everyone()))
    measurements = measurement_rows(slice.study, found)
    transfer = transfer_rows(found, levels(looked_at))
    write_table("measurements", measurements, Path(out))
    write_table("transfer", transfer, Path(out))
    write_table("controls", control_rows(found, transfer), Path(out))
    write_table("left_out", left_out, Path(out))
    write_table("paper", paper_rows(slice.pairs, measurements, transfer), Path(out))
