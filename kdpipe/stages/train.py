"""Stage ``train``: one network on labels alone."""

from __future__ import annotations

from pathlib import Path

import torch

from kdpipe.data.augment.base import Pipeline
from kdpipe.data.selection import Selection
from kdpipe.data.store import Subset
from kdpipe.distill.base import Setting
from kdpipe.distill.labels import Labels, LabelsOptions
from kdpipe.options import Options
from kdpipe.paths import ModelRef, subset_dir
from kdpipe.plugin import PluginRef
from kdpipe.provenance import provenance
from kdpipe.seeding import stream
from kdpipe.stages._training import describe, load_images, new_network, open_checkpoint
from kdpipe.training.artefact import save
from kdpipe.training.compute import Compute
from kdpipe.training.loop import fit
from kdpipe.training.recipe import Recipe


class TrainSlice(Options):
    ref: ModelRef
    network: PluginRef
    data: Selection
    augment: list[PluginRef]
    recipe: Recipe
    compute: Compute


def run(slice_: TrainSlice, root: Path, out: Path, code: str = "") -> None:
    """Train the model and write its three files into ``out``."""
    slice_.compute.start()
    device = slice_.compute.device
    subset = Subset(root / subset_dir(slice_.data.set))
    train = load_images(subset, slice_.data, "train", device)
    val = load_images(subset, slice_.data, "val", device)
    seed = stream("model", slice_.ref.model, slice_.ref.seed)
    network = new_network(slice_.network, subset, train, stream("weights", seed), device)
    setting = Setting(train.labels, len(subset.classes), {}, {})
    inputs = {"subset.json": subset.folder / "subset.json"}
    made_from = provenance(slice_, inputs)
    checkpoint = open_checkpoint(root, code, made_from)
    history = fit(
        network,
        Labels(LabelsOptions(), setting).to(torch.device(device)),
        None,
        train,
        val,
        slice_.recipe,
        Pipeline(slice_.augment, seed),
        slice_.compute,
        seed,
        checkpoint,
    )
    about = describe(network, slice_.network, subset, train)
    save(out, network, {**about, "provenance": made_from}, history)
    checkpoint.remove()
