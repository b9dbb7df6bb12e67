"""A model that comes from weights in place of training."""

from __future__ import annotations

import hashlib
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kdpipe.base.errors import KdpipeError, last_line
from kdpipe.base.paths import subset_dir
from kdpipe.base.plugin import PluginRef
from kdpipe.base.provenance import provenance
from kdpipe.base.seeding import ranks, stream
from kdpipe.data.class_order import ORDERS
from kdpipe.data.images import as_float
from kdpipe.data.store import Subset
from kdpipe.models.base import Builder, Network, build
from kdpipe.models.shared.form import OtherOutputError, find_form, pick
from kdpipe.models.weights.find import Found, find, load_into
from kdpipe.models.weights.options import Outputs, Weights
from kdpipe.models.weights.state_dicts import Part
from kdpipe.stages.base import Call
from kdpipe.stages.shared.class_names import class_names, order_found, order_unknown
from kdpipe.stages.shared.classes import UnknownClassesError, read_as
from kdpipe.stages.shared.training import TrainSettings, formed, load_images, reused, some_images
from kdpipe.training.artefact import save
from kdpipe.training.loop import evaluate

LOOKED_AT, BATCH = 512, 64
"""Images a split, and at once, whose answers tell the order of the classes."""


def run(settings: TrainSettings, weights: Weights, call: Call) -> None:
    """Write the three files of a network that others trained; its history is one validation."""
    settings.compute.start()
    ref, weights = settings.network, weights.of_seed(settings.ref.seed)
    subset = Subset(call.root / subset_dir(settings.data.set))
    builder: Builder = ref.make()
    found = find(weights, builder, call.data_root)
    if found.classes and weights.classes == "data":
        weights = weights.model_copy(update={"classes": found.classes})
    possible = class_names(weights, subset.classes, settings.data.set)
    ref = ref.with_options(**builder.pinned())
    images = some_images(subset, settings.data, settings.compute.device)
    tried = weights.outputs if builder.third_party or weights.outputs != "auto" else None
    network, classes = fitted(settings, weights, ref, found, possible, images, tried)
    order = None
    if order_unknown(weights, subset.classes):
        answers = partial(answered, settings, network, subset)
        order = order_found(subset.classes, settings.data.set, settings.ref.path, answers)
        classes = ORDERS[order](subset.classes)
        print(f"{settings.ref.path}: its outputs count the classes as {order}", flush=True)

    files = {"subset.json": subset.folder / "subset.json"}
    made_from = provenance(settings, files | ({"weights": found.file} if found.file else {}))
    if not found.file:
        made_from["inputs"]["weights"] = digest(found.state)
    about = {
        "network": ref.as_json(),
        "classes": classes,
        "mean": network.mean.flatten().tolist(),
        "std": network.std.flatten().tolist(),
        "layers": list(network.layers.cka),
        "input": {"size": network.image_size, "range": [0, 1], "channels": 3},
        "trained_size": weights.size,
        "side": network.side,
        **({"channels": weights.channels} if network.bgr else {}),
        **formed(network),
        **reused(network),
        "parameters": sum(p.numel() for p in network.parameters()),
        "weights": found.origin,
        "provenance": made_from,
    }
    if order is not None:
        about["order_found"] = order
    save(call.out, network, about, [{"epoch": 0, **validated(settings, network, subset, classes)}])


def fitted(
    settings: TrainSettings,
    weights: Weights,
    ref: PluginRef,
    found: Found,
    possible: list[list[str]],
    images: Tensor,
    outputs: Outputs | None,
) -> tuple[Network, list[str]]:
    """The network with the weights, and the first of the ``possible`` classes that it has outputs
    for. Raises KdpipeError, of the first of them, when none fits."""
    refused: list[KdpipeError] = []
    for classes in possible:
        try:
            network, part = filled(ref, weights, found, len(classes), images.shape[-1])
            network.to(settings.compute.device).eval()
            check_outputs(network, classes, images, settings.ref.path, outputs)
        except KdpipeError as error:
            refused.append(error)
            continue
        if part.label:
            print(f"{found.origin}: the weights are those under '{part.label}'", flush=True)
        return network, classes
    raise refused[0]


def filled(
    ref: PluginRef, weights: Weights, found: Found, n_classes: int, size: int | None
) -> tuple[Network, Part]:
    """A network with the weights that were found, on the CPU, and which part of them it has.

    ``size``: of the images, in pixels of a side; None if unknown. Raises KdpipeError when the
    weights do not fit.
    """
    side = weights.size or size
    network = build(ref, n_classes, found.mean, found.std, seed=0, side=side)
    network.trained_size = weights.size
    network.bgr = weights.channels == "bgr"
    about = f"the network '{ref.make().arch or ref.name}' of {n_classes} classes"
    part = load_into(network.body, found, weights.key_map, about)
    if found.reused is not None:
        found.reused.put(network, n_classes)
    return network, part


def check_outputs(
    network: Network, classes: list[str], images: Tensor, name: str, outputs: Outputs | None
) -> None:
    """Raise KdpipeError unless the network gives a logit for each class of an image.

    ``images`` (n, 3, h, w) in [0, 1]. With ``outputs`` the form is found in which it does.
    """
    size = images.shape[-1]
    try:
        if outputs is not None:
            find_form(network, len(classes), images, None if outputs == "auto" else outputs)
        with torch.no_grad():
            logits = pick(network(torch.zeros_like(images[:2])), len(classes), len(images[:2]))
    except OtherOutputError as error:
        raise KdpipeError(
            f"{name} {error.said}; list what its outputs stand for under weights.classes."
        ) from None
    except KdpipeError:
        raise
    except Exception as error:  # whatever a network of others raises
        raise KdpipeError(
            f"{name} cannot be run on images of {size}×{size} pixels ({last_line(error)}); give "
            f"the size that it was trained on as weights.size."
        ) from None
    if not bool(torch.isfinite(logits).all()):
        raise KdpipeError(
            f"{name} gives logits that are no numbers for a black image; its weights or "
            f"weights.mean and weights.std are not those it was trained with."
        )


@torch.no_grad()
def answered(
    settings: TrainSettings, network: Network, subset: Subset
) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and the number of the output that answers, of some images (n,) that were not trained
    on here."""
    compute, labels, outputs = settings.compute, [], []
    kept = np.isin(subset.index["domain"], settings.data.domains)
    for split in ("val", "test"):
        if not (kept & (subset.index["split"] == split)).any():
            continue
        images = load_images(subset, settings.data, split, compute.device)
        some = torch.from_numpy(ranks(stream("class order"), images.ids).argsort()[:LOOKED_AT])
        for rows in some.split(BATCH):
            with compute.autocast():
                logits = network(as_float(images.pixels[rows].to(images.labels.device)))
            labels.append(images.labels[rows.to(images.labels.device)].cpu())
            outputs.append(logits.argmax(1).cpu())
    none = [torch.empty(0, dtype=torch.int64)]
    return torch.cat(labels or none).numpy(), torch.cat(outputs or none).numpy()


def validated(
    settings: TrainSettings, network: Network, subset: Subset, classes: list[str]
) -> dict[str, Any]:
    """Loss and accuracy on the validation images, where there are some of the network's classes."""
    own = (subset.index["split"] == "val") & [
        domain in settings.data.domains for domain in subset.index["domain"]
    ]
    if not own.any():
        return {}
    try:
        read_as(network, classes, subset.classes)
    except UnknownClassesError:
        return {}
    images = load_images(subset, settings.data, "val", settings.compute.device)
    found = evaluate(network, images, settings.recipe.batch_size, settings.compute)
    network.readout = None  # which is no part of the network
    return found


def digest(state: dict[str, Tensor]) -> str:
    """SHA-256 of names, shapes and numbers, where there is no file to take it of."""
    total = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        total.update(f"{name}\0{tuple(tensor.shape)}\0".encode())
        total.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return total.hexdigest()
