"""The weights of another network that a student starts from."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from torch import Tensor

from kdpipe.base.options import Options
from kdpipe.base.paths import ModelRef, StudentRef, subset_dir
from kdpipe.base.seeding import stream
from kdpipe.data.store import Subset
from kdpipe.models import BuilderRef
from kdpipe.models.base import Network, build
from kdpipe.stages.shared.training import stream_of
from kdpipe.training.artefact import load
from kdpipe.training.start import place


class StartSettings(Options):
    """Another network, and how far from it a student starts; see ``training.start``."""

    ref: ModelRef | StudentRef
    at: Literal["start", "end"]
    noise: float
    layers: list[str]
    network: BuilderRef
    auxiliary: int
    set: str
    """Data set that it is trained on, whose classes and size of images decide its shape."""
    drawn_as: ModelRef | None
    """The network with which it shares its own draw; None where it shares that with no network."""


def start_from(network: Network, settings: StartSettings, root: Path, seed: int) -> dict[str, Path]:
    """Give ``network`` its start, in place; returns the files that it comes from.

    ``seed``: of everything random in the training of ``network``. Initial weights are drawn again
    from the other network's own stream, so that nobody has to store them. Raises KdpipeError where
    a tensor differs in shape.
    """
    source, files = _weights(settings, root)
    place(network, source, settings.layers, settings.noise, seed)
    return files


def _weights(settings: StartSettings, root: Path) -> tuple[dict[str, Tensor], dict[str, Path]]:
    if settings.at == "end":
        folder = root / settings.ref.path
        return load(folder).body.state_dict(), {"start": folder / "model.safetensors"}
    subset = Subset(root / subset_dir(settings.set))
    drawn = build(
        settings.network,
        len(subset.classes),
        [0.5] * 3,
        [1.0] * 3,
        stream("weights", stream_of(settings.drawn_as or settings.ref)),
        subset.size,
        settings.auxiliary,
    )
    return drawn.body.state_dict(), {"start": subset.folder / "subset.json"}
