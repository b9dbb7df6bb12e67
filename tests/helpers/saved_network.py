"""A small network in a folder, as a training leaves it there."""

from __future__ import annotations

from pathlib import Path

from kdpipe.base.plugin import resolve
from kdpipe.models import builders
from kdpipe.models.base import Network, build
from kdpipe.training.artefact import save

REF = resolve(builders, "mnist_cnn")
ABOUT = {"network": REF.as_json(), "classes": list("abc"), "mean": [0.1] * 3, "std": [0.5] * 3}


def saved(folder: Path) -> Network:
    network = build(REF, 3, ABOUT["mean"], ABOUT["std"], seed=4).train()
    save(folder, network, ABOUT, [{"epoch": 1, "train_loss": 0.5}])
    return network
