"""What training a model and distilling a student have in common."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kdpipe.data.images import as_float
from kdpipe.data.selection import Selection, select
from kdpipe.data.store import Subset
from kdpipe.models.base import Network, build
from kdpipe.plugin import PluginRef
from kdpipe.provenance import canonical
from kdpipe.training.artefact import channel_statistics
from kdpipe.training.checkpoint import Checkpoint
from kdpipe.training.loop import Images


def load_images(subset: Subset, selection: Selection, split: str, device: str) -> Images:
    """The selected images on the device; validation images are never thinned out by group."""
    rows = select(subset.index, selection, split, compose=split == "train")
    return Images(
        pixels=subset.images(rows).to(device),
        labels=torch.from_numpy(subset.index["label"][rows]).to(device),
        ids=subset.index["sample_id"][rows],
    )


def new_network(ref: PluginRef, subset: Subset, train: Images, seed: int, device: str) -> Network:
    """A fresh network that normalises by its own training images."""
    mean, std = channel_statistics(train.pixels.permute(0, 2, 3, 1).cpu().numpy())
    return build(ref, len(subset.classes), mean, std, seed).to(device)


@torch.no_grad()
def feature_shapes(
    network: Network, train: Images, layers: tuple[str, ...]
) -> dict[str, tuple[int, ...]]:
    """Shape of each layer's output without the batch dimension."""
    training = network.training
    network.eval()
    _, features = network.with_features(as_float(train.pixels[:2]), layers)
    network.train(training)
    return {name: tuple(f.shape[1:]) for name, f in features.items()}


def describe(network: Network, ref: PluginRef, subset: Subset, train: Images) -> dict[str, object]:
    """The part of ``model.json`` that says what the weights are."""
    counts = np.bincount(train.labels.cpu().numpy(), minlength=len(subset.classes))
    return {
        "network": ref.model_dump(),
        "classes": subset.classes,
        "mean": network.mean.flatten().tolist(),
        "std": network.std.flatten().tolist(),
        "layers": list(network.layers.cka),
        "input": {"size": int(train.pixels.shape[-1]), "range": [0, 1], "channels": 3},
        "parameters": sum(p.numel() for p in network.parameters()),
        "training_images": {c: int(n) for c, n in zip(subset.classes, counts, strict=True)},
    }


def open_checkpoint(root: Path, code: str, made_from: dict[str, Any]) -> Checkpoint:
    """The checkpoint of exactly this training: settings, inputs and code are in its name.

    Without a digest of the code nothing is kept, because a checkpoint could not be trusted.
    """
    if not code:
        return Checkpoint(None)
    words = canonical({key: made_from[key] for key in ("settings", "inputs")}) + code
    name = hashlib.sha256(words.encode()).hexdigest()[:32]
    return Checkpoint(root / ".checkpoints" / f"{name}.pt")
