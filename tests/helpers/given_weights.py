"""Networks that the stage `train` takes from weights, beside six numbered images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kdpipe.base.paths import ModelRef
from kdpipe.base.plugin import PluginRef, resolve
from kdpipe.data.selection import Selection
from kdpipe.models import builders
from kdpipe.models.base import Network
from kdpipe.models.weights.options import Weights
from kdpipe.stages import train
from kdpipe.stages.base import Call
from kdpipe.training.artefact import load
from kdpipe.training.compute import Compute
from kdpipe.training.recipe import Recipe

REF = resolve(builders, {"name": "mlp", "hidden": [6]})


def write_images(kit: Any, folder: Path) -> Path:
    """Six numbered images; the last three are for validation."""
    kit.write_subset(
        folder / "subset" / "set",
        kit.numbered(6),
        [0, 1, 2] * 2,
        ["a", "b", "c"],
        split=["train"] * 3 + ["val"] * 3,
    )
    return folder


def taken(root: Path, ref: PluginRef = REF, seed: int = 0, **weights) -> Network:
    """The network that the stage makes of the weights."""
    settings = train.TrainSettings(
        ref=ModelRef(model="m", seed=seed),
        network=ref,
        data=Selection(set="set", domains=["grey"]),
        augment=[],
        recipe=Recipe(),
        compute=Compute(),
        weights=Weights(**weights),
    )
    again = train.TrainSettings.model_validate_json(settings.model_dump_json())
    train.run(again, Call(root, root / again.ref.path, data_root=root))
    return load(root / again.ref.path)
