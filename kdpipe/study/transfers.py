"""Which images and outputs can show a teacher to its students: what a study alone tells."""

from __future__ import annotations

from collections.abc import Mapping

from kdpipe.base.plugin import PluginRef, parts
from kdpipe.data.selection import Selection
from kdpipe.data.transfer import Transfer
from kdpipe.study.entries import DataSet, Pair


def check_methods(where: str, transfer: Transfer, methods: Mapping[str, PluginRef]) -> None:
    """Raise ValueError unless every objective of the pair ``where`` can do with these images."""
    if not methods:
        raise ValueError(f"{where}.transfer: the pair distils no student, so that nobody sees it")
    for method, ref in {} if transfer.labels else methods.items():
        name = f"{where}.methods.{method}"
        if not ref.cls.uses_teacher:
            raise ValueError(
                f"{name}: the objective '{ref.name}' sees no teacher, and so no transfer images; "
                f"give it a pair without transfer"
            )
        if needing := [part.name for part in parts(ref) if part.cls.needs_labels]:
            raise ValueError(
                f"{name}: the objective '{needing[0]}' needs the labels of the images on which the "
                f"student sees its teacher; say transfer.labels: true, or leave it out"
            )
        if not transfer.beside and getattr(ref.options, "gamma", 0) > 0:
            raise ValueError(
                f"{name}.gamma: no image has a label, so that there is nothing to weigh; say "
                f"gamma: 0, or beside: true under transfer to learn the labels of the student's "
                f"own images"
            )


def check_compared(where: str, pair: Pair) -> None:
    """Raise ValueError unless the objectives of the pair ``where`` can compare outputs that no
    label stands for."""
    for method, ref in pair.methods.items():
        name = f"{where}.methods.{method}"
        needing = [p.name for p in parts(ref) if p.cls.needs_labels and p.cls.uses_teacher]
        if needing and pair.outputs == "auxiliary":
            raise ValueError(
                f"{name}: the objective '{needing[0]}' needs a label for the outputs that it "
                f"compares, and no label stands for those of outputs: auxiliary; leave one of the "
                f"two out"
            )
        if ref.cls.attack(ref.options) is not None:
            raise ValueError(
                f"{name}: the objective '{ref.name}' attacks the answers of the classes, and "
                f"outputs: {pair.outputs} compares others; leave one of the two out"
            )


def check_images(
    where: str, transfer: Transfer, images: Selection, own: Selection, sets: Mapping[str, DataSet]
) -> None:
    """Raise ValueError unless ``images`` fit a student of the images ``own``."""
    data, base = sets[images.set], sets[own.set]
    if not data.split.train:
        raise ValueError(f"{where}.set: '{images.set}' has no training images (split.train is 0)")
    if data.size != base.size:
        raise ValueError(
            f"{where}.set: images of '{images.set}' are {data.size} pixels wide, and those of the "
            f"student's set '{own.set}' {base.size}; give both sets the same size"
        )
    if transfer.labels and data.source == base.source and _names(data) != _names(base):
        raise ValueError(
            f"{where}.labels: '{images.set}' has other classes than the student's set "
            f"'{own.set}'; leave labels out"
        )


def _names(data: DataSet) -> list[str] | None:
    return None if data.classes is None else list(data.classes)


def check_beside(where: str, probe: PluginRef, own: str, sets: Mapping[str, DataSet]) -> None:
    """Raise ValueError unless further data sets of a probe are others than its ``own``, of the same
    size."""
    for further in probe.cls.sets(probe.options):
        if further == own:
            raise ValueError(
                f"{where}: '{further}' is the set that it probes; name its domains or classes "
                f"alone, or another set"
            )
        if sets[further].size != sets[own].size:
            raise ValueError(
                f"{where}: images of '{further}' are {sets[further].size} pixels wide, and those "
                f"of '{own}' {sets[own].size}; give both sets the same size"
            )
