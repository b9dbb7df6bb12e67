"""Load a network as one that decides among the classes of a data set."""

from __future__ import annotations

import json
from pathlib import Path

from kdpipe.base.errors import KdpipeError, some_of
from kdpipe.base.paths import MeanRef, TeacherRef
from kdpipe.base.plugin import PluginRef
from kdpipe.data.class_order import lacking, positions
from kdpipe.data.store import Subset
from kdpipe.models.base import Network
from kdpipe.models.shared.mean import Mean
from kdpipe.models.shared.readout import ClassReadout
from kdpipe.training.artefact import load


def load_for(
    root: Path,
    ref: TeacherRef,
    subset: Subset,
    set_name: str,
    class_map: PluginRef | None,
    device: str,
) -> Network:
    """The network of ``ref``, with logits for the classes of ``subset`` in their order.

    Whoever teaches, is probed or attacks is loaded by this function, so that an output stands for
    the same class everywhere. Several networks give the logarithm of their mean probability.
    Raises KdpipeError when the network does not know the classes.
    """
    if isinstance(ref, MeanRef):
        found = [load_for(root, one, subset, set_name, class_map, device) for one in ref.networks]
        return Mean(found).eval()
    network = load(root / ref.path, device)
    own = json.loads((root / ref.path / "model.json").read_text())["classes"]
    try:
        read_as(network, own, subset.classes, class_map)
    except UnknownClassesError:
        raise unknown(ref.path, own, subset.classes, set_name) from None
    return network


def unknown(about: str, own: list[str], wanted: list[str], set_name: str) -> KdpipeError:
    """The error for a network, ``about``, that lacks classes of a data set."""
    missing = lacking(own, wanted)
    return KdpipeError(
        f"{about} was trained on the classes {some_of(own)}, but data set '{set_name}' has "
        f"{some_of(wanted)}, of which the network does not know {some_of(missing, 3)}; "
        f"use a network of the same task, or give data.sets.{set_name} a class_map."
    )


class UnknownClassesError(KdpipeError):
    """A network lacks classes of a data set, and no map says what stands for them."""


def read_as(
    network: Network, own: list[str], wanted: list[str], class_map: PluginRef | None = None
) -> None:
    """Have ``network``, whose outputs stand for ``own``, give logits for ``wanted``.

    The same classes in another order are read by their names. Other classes are read by
    ``class_map``, or without one by name too: the logits of classes that are not wanted are left
    out. Raises UnknownClassesError where that is not possible.
    """
    if own == wanted:
        return
    if class_map is not None and sorted(own) != sorted(wanted):
        members = class_map.make().rows(wanted, own)
        readout = ClassReadout(members, class_map.options.reduce)
    else:
        found = positions(own, wanted)
        if found is None:
            raise UnknownClassesError("The network does not know the classes of the data set.")
        if found == list(range(len(own))):
            return  # other names of the same classes
        readout = ClassReadout([[position] for position in found], "sum")
    network.readout = readout.to(network.mean.device)
