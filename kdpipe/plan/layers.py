"""Which layers the objectives of a study read, before anything runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rich.table import Column, Table

from kdpipe.base.errors import KdpipeError
from kdpipe.distill.shared.connector import by
from kdpipe.plan.check_networks import Networks, Read, Shapes
from kdpipe.plan.plan import Plan
from kdpipe.study.entries import Pair

Row = tuple[str, str, str, str, str, str]
"""Pair, method, the student's layer and its shape, the teacher's layer and its shape."""


def print_layers(plan: Plan, data_root: Path | None) -> None:
    """Print :func:`layers_read`. Raises KdpipeError, with the sentences of ``kdpipe check``, where
    a network has no such layers or an objective does not accept them; the rest is printed."""
    from rich.console import Console

    networks = Networks(plan, data_root)
    no_wrap = (Column(name, no_wrap=True) for name in ("pair", "method"))
    table = Table(*no_wrap, "student's layer", "shape", "teacher's layer", "shape")
    before = ("", "")
    for row in layers_read(networks):
        table.add_row(*(row[:2] if row[:2] != before else ("", "")), *row[2:])
        before = row[:2]
    console = Console()
    console.width = max(console.width, 110)  # of a pipe it is 80
    console.print(table)
    if networks.said:
        raise KdpipeError("; ".join(networks.said) + ".")


def layers_read(networks: Networks) -> Iterator[Row]:
    """A row for each pair of layers that a method of a pair compares, and one for a method that
    reads no layer. Behind an alias stands the module (``hint = stage2``). Networks are built on the
    meta device at the size of the study's images; their shapes are channels × height × width, or
    the width of a vector."""
    for name, pair in networks.study.pairs.items():
        for method, ref in pair.methods.items():
            read = networks.objective(f"pairs.{name}.methods.{method}", pair, ref)
            if read is None:
                continue
            if not read.student:
                sees = "the logits" if ref.cls.uses_teacher else "no teacher"
                yield name, method, "", "", sees, ""
            for own, theirs in zip(read.student, read.teacher, strict=True):
                yield name, method, *_sides(networks, pair, read, own, theirs)


def _sides(
    networks: Networks, pair: Pair, read: Read, own: str, theirs: str
) -> tuple[str, str, str, str]:
    def side(model: str, layer: str, shapes: Shapes) -> tuple[str, str]:
        network = networks.outline(model)
        if not layer or network is None:
            return "", ""
        dotted = network.dotted(layer)
        return layer if dotted == layer else f"{layer} = {dotted}", by(shapes[layer])

    return (
        *side(pair.like, own, read.shapes),
        *side(networks.study.model_of(pair.teacher.members[0]), theirs, read.teacher_shapes),
    )
