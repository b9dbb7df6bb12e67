"""What training a model and distilling a student have in common."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kdpipe.base import parallel
from kdpipe.base.options import Options, optional
from kdpipe.base.paths import ModelRef, StudentRef, subset_dir
from kdpipe.base.plugin import PluginRef
from kdpipe.base.provenance import in_order, provenance
from kdpipe.base.seeding import ranks, stream
from kdpipe.data.augment import AugmentationRef
from kdpipe.data.augment.base import Pipeline
from kdpipe.data.images import as_float
from kdpipe.data.lazy import LazyPixels
from kdpipe.data.selection import Selection, select, training_labels
from kdpipe.data.store import Subset
from kdpipe.distill import ObjectiveRef
from kdpipe.distill.base import Objective
from kdpipe.models import BuilderRef
from kdpipe.models.base import Network, OutputsOf, build
from kdpipe.models.shared.form import find_form
from kdpipe.models.shared.normalisation import NORMALISATIONS, Named
from kdpipe.models.weights.options import Weights
from kdpipe.stages.base import Call
from kdpipe.training.artefact import channel_statistics, save
from kdpipe.training.checkpoint import Checkpoint, seconds_between
from kdpipe.training.compute import Compute
from kdpipe.training.loop import Images, fit
from kdpipe.training.recipe import Recipe
from kdpipe.training.shown import Taught
from kdpipe.training.teacher import Teacher, fits

TRIED = 16  # images that it is found with how a network of others is called
STATISTICS = 2048  # images that a network's normalisation is computed from, where not all are


class TrainingSettings(Options):
    """Settings of one training."""

    ref: ModelRef | StudentRef
    network: BuilderRef
    auxiliary: int | None = optional(description="Outputs beside those of the classes.")
    normalise: Named | None = optional(description="None for that of its own training images.")
    data: Selection
    augment: list[AugmentationRef]
    recipe: Recipe
    compute: Compute


class TrainSettings(TrainingSettings):
    ref: ModelRef
    objective: ObjectiveRef | None = optional(description="None for the labels' cross-entropy.")
    weights: Weights | None = None


@dataclass(frozen=True)
class Setup:
    """A fresh network, its images, their augmentation, and the seed of everything random in its
    training."""

    subset: Subset
    train: Images
    val: Images
    seed: int
    network: Network
    augment: Pipeline


def stream_of(ref: ModelRef | StudentRef) -> int:
    """The seed of everything random in the training of a network that shares it with no other."""
    if isinstance(ref, ModelRef):
        return stream("model", ref.model, ref.seed)
    return stream("student", ref.pair, ref.method, ref.seed)


def set_up(settings: TrainingSettings, root: Path, seed: int) -> Setup:
    settings.compute.start()
    device = settings.compute.device
    subset = Subset(root / subset_dir(settings.data.set))
    train = load_images(subset, settings.data, "train", device)
    val = load_images(subset, settings.data, "val", device)
    augment = Pipeline(settings.augment, seed, subset.size, subset.classes)
    train = replace(train, labels=augment.relabel(train.labels, train.ids))
    network = new_network(settings, subset, train, stream("weights", seed))
    if settings.network.cls.third_party:
        images = some_images(subset, settings.data, device)
        # What its code keeps without gradients is not to be trained.
        find_form(network, len(subset.classes), images, gradients=False)
    return Setup(subset, train, val, seed, network, augment)


def train_and_save(
    settings: TrainingSettings,
    setup: Setup,
    objective: Objective,
    teacher: Teacher | None,
    inputs: dict[str, Path],
    call: Call,
    outputs: OutputsOf = "classes",
    taught: Taught | None = None,
) -> None:
    """Train, from a checkpoint if there is one, and write the network's three files.

    ``taught``: unlabelled images on which a student sees its teacher.
    Of several processes the first one keeps the checkpoint and writes.
    """
    inputs = {"subset.json": setup.subset.folder / "subset.json", **inputs}
    made_from = provenance(settings, inputs)
    writes = parallel.rank() == 0
    kept = open_checkpoint(call.root, settings.ref.path, call.code if writes else "", made_from)
    with kept as checkpoint:
        history = fit(
            setup.network,
            objective.to(torch.device(settings.compute.device)),
            teacher,
            setup.train,
            setup.val,
            settings.recipe,
            setup.augment,
            settings.compute,
            setup.seed,
            checkpoint,
            outputs,
            taught,
        )
        about = describe(setup.network, settings.network, setup.subset, setup.train)
        if taught is not None:
            about["transfer_images"] = len(taught.shown)
            if not taught.beside:
                about["training_images"] = dict.fromkeys(setup.subset.classes, 0)
        if writes:
            save(call.out, setup.network, {**about, "provenance": made_from}, history)


def load_images(subset: Subset, selection: Selection, split: str, device: str) -> Images:
    """The selected images, on the device if they fit; validation images are never thinned out by
    group, and their labels are true."""
    rows = select(subset.index, selection, split, compose=split == "train")
    labels = subset.index["label"][rows]
    if split == "train":
        labels = training_labels(subset.index, rows, selection, len(subset.classes))
    room = fits(len(rows) * subset.edge**2 * 3, torch.device(device))
    pixels, whole = subset.access(rows, device if room or not subset.stored else "cpu")
    return Images(
        pixels=pixels,
        whole=whole,
        labels=torch.from_numpy(labels).to(device),
        ids=subset.index["sample_id"][rows],
    )


def new_network(settings: TrainingSettings, subset: Subset, train: Images, seed: int) -> Network:
    """A fresh network that normalises as its model says, or by its own training images.

    Where those are decoded on the fly, by some of them: the mean of 2048 images is known to a few
    thousandths.
    """
    n_classes, more = len(subset.classes), settings.auxiliary or 0
    mean, std = _own(train) if settings.normalise is None else NORMALISATIONS[settings.normalise]
    network = build(settings.network, n_classes, mean, std, seed, subset.size, more)
    return network.to(settings.compute.device)


def _own(train: Images) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of the training images, a channel."""
    pixels = train.pixels
    if isinstance(pixels, LazyPixels):
        some = ranks(stream("statistics"), train.ids).argsort()[:STATISTICS]
        parts = np.array_split(np.sort(some), max(1, len(some) // 64))
        pixels = torch.cat([images for _, images in pixels.stream(parts)])
    return channel_statistics(pixels.permute(0, 2, 3, 1).cpu().numpy())


def some_images(subset: Subset, selection: Selection, device: str) -> Tensor:
    """A few images (n, 3, h, w) in [0, 1] of the selected domains, to try a network with."""
    own = np.flatnonzero(np.isin(subset.index["domain"], selection.domains))
    if not len(own):
        own = np.arange(len(subset.index["domain"]))
    rows = own[np.unique(np.linspace(0, len(own) - 1, TRIED).astype(int))]
    return as_float(subset.access(rows, device)[0][:]).to(device)


def formed(network: Network) -> dict[str, Any]:
    """The part of ``model.json`` that says how a network is called, where that is not as usual."""
    return {"form": network.form.model_dump()} if network.form else {}


def reused(network: Network) -> dict[str, Any]:
    """The part that says which classifier of another network decides, where one does."""
    return {"reused": network.reused.settings.model_dump()} if network.reused else {}


def _more(network: Network) -> dict[str, Any]:
    """The part that says how many outputs no label stands for, where there are some."""
    return {"auxiliary": network.auxiliary} if network.auxiliary else {}


@torch.no_grad()
def feature_shapes(
    network: Network, train: Images, layers: tuple[str, ...]
) -> dict[str, tuple[int, ...]]:
    """Shape of each layer's output without the batch dimension; ``stages`` stands for those of
    the network's stages."""
    training = network.training
    network.eval()
    two = as_float(train.pixels[:2]).to(train.labels.device)
    _, features = network.with_features(two, network.expanded(layers))
    network.train(training)
    return {name: tuple(f.shape[1:]) for name, f in features.items()}


def describe(network: Network, ref: PluginRef, subset: Subset, train: Images) -> dict[str, object]:
    """The part of ``model.json`` that says what the weights are."""
    labels = train.labels.cpu().numpy()
    counts = np.bincount(labels, minlength=len(subset.classes))
    wrong = int((labels != subset.index["label"][train.ids]).sum())
    return {
        "network": ref.as_json(),
        "classes": subset.classes,
        "mean": network.mean.flatten().tolist(),
        "std": network.std.flatten().tolist(),
        "layers": list(network.layers.cka),
        "input": {"size": int(train.pixels.shape[-1]), "range": [0, 1], "channels": 3},
        "side": network.side,
        **formed(network),
        **_more(network),
        **reused(network),
        "parameters": sum(p.numel() for p in network.parameters()),
        "training_images": {c: int(n) for c, n in zip(subset.classes, counts, strict=True)},
        **({"wrong_labels": wrong} if wrong else {}),
    }


def open_checkpoint(root: Path, target: str, code: str, made_from: dict[str, Any]) -> Checkpoint:
    """The checkpoint of exactly this training: settings, inputs, code and versions are in its name.

    Without a digest of the code nothing is kept, because a checkpoint could not be trusted.
    """
    if not code:
        return Checkpoint(None)
    digest = hashlib.sha256((in_order(made_from) + code).encode()).hexdigest()[:32]
    name = f"{target.replace('/', '.')}-{digest}.pt"
    return Checkpoint(root / ".checkpoints" / name, seconds_between())
