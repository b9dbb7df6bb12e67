"""A model that comes from weights in place of training."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from kdpipe.data.store import Subset
from kdpipe.errors import KdpipeError
from kdpipe.models._form import OtherOutputError, find_form, pick
from kdpipe.models._weights import Outputs, Weights, find, load_into
from kdpipe.models.base import Network, build, builders
from kdpipe.paths import subset_dir
from kdpipe.plugin import PluginRef
from kdpipe.provenance import provenance
from kdpipe.stages._classes import UnknownClassesError, read_as
from kdpipe.stages._training import formed, load_images, some_images
from kdpipe.training.artefact import save
from kdpipe.training.loop import evaluate

if TYPE_CHECKING:
    from kdpipe.stages.train import TrainSlice

WORDNET_ID = re.compile(r"n\d{8}")


def run(
    slice_: TrainSlice, weights: Weights, root: Path, out: Path, data_root: Path | None
) -> None:
    """Write the three files of a network that others trained; its history is one validation."""
    slice_.compute.start()
    ref, weights = slice_.network, weights.of_seed(slice_.ref.seed)
    subset = Subset(root / subset_dir(slice_.data.set))
    classes = class_names(weights, subset.classes, slice_.data.set)
    cls = builders.get(ref.name)
    builder = cls(cls.Options(**ref.options))
    found = find(weights, builder, data_root)
    ref = PluginRef(name=ref.name, options=builder.pinned())
    side = weights.size or subset.size
    network = build(ref, len(classes), found.mean, found.std, seed=0, side=side)
    network.trained_size = weights.size
    arch = ref.options.get("arch", ref.name)
    part = load_into(
        network.body, found, weights.key_map, f"the network '{arch}' of {len(classes)} classes"
    )
    if part.label:
        print(f"{found.origin}: the weights are those under '{part.label}'", flush=True)
    network.to(slice_.compute.device).eval()
    images = some_images(subset, slice_.data, slice_.compute.device)
    tried = weights.outputs if builder.third_party or weights.outputs != "auto" else None
    check_outputs(network, classes, images, slice_.ref.path, tried)

    files = {"subset.json": subset.folder / "subset.json"}
    made_from = provenance(slice_, files | ({"weights": found.file} if found.file else {}))
    if not found.file:
        made_from["inputs"]["weights"] = digest(found.state)
    about = {
        "network": ref.model_dump(),
        "classes": classes,
        "mean": network.mean.flatten().tolist(),
        "std": network.std.flatten().tolist(),
        "layers": list(network.layers.cka),
        "input": {"size": network.image_size, "range": [0, 1], "channels": 3},
        "trained_size": weights.size,
        "side": network.side,
        **formed(network),
        "parameters": sum(p.numel() for p in network.parameters()),
        "weights": found.origin,
        "provenance": made_from,
    }
    save(out, network, about, [{"epoch": 0, **validated(slice_, network, subset, classes)}])


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
        said = str(error).removeprefix("it ")
        raise KdpipeError(
            f"{name} {said}; list what its outputs stand for under weights.classes."
        ) from None
    except KdpipeError:
        raise
    except Exception as error:  # whatever a network of others raises
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1].strip().rstrip(".")
        raise KdpipeError(
            f"{name} cannot be run on images of {size}×{size} pixels ({reason}); give the size "
            f"that it was trained on as weights.size."
        ) from None
    if not bool(torch.isfinite(logits).all()):
        raise KdpipeError(
            f"{name} gives logits that are no numbers for a black image; its weights or "
            f"weights.mean and weights.std are not those it was trained with."
        )


def class_names(weights: Weights, of_data: list[str], set_name: str) -> list[str]:
    """What the network's outputs stand for, in their order.

    Raises KdpipeError when the data set counts ImageNet's classes in another order than the
    published weights do.
    """
    if isinstance(weights.classes, list):
        return weights.classes
    if weights.classes == "imagenet":
        from torchvision.models import ResNet18_Weights

        return list(ResNet18_Weights.IMAGENET1K_V1.meta["categories"])
    ids = all(WORDNET_ID.fullmatch(name) for name in of_data)
    if weights.published and ids and of_data != sorted(of_data):
        raise KdpipeError(
            f"weights: published weights count ImageNet's classes in the order of their WordNet "
            f"ids, but data set '{set_name}' begins with {', '.join(of_data[:3])}; let it list "
            f"its classes in that order, or give weights.classes."
        )
    return of_data


def validated(
    slice_: TrainSlice, network: Network, subset: Subset, classes: list[str]
) -> dict[str, Any]:
    """Loss and accuracy on the validation images, where there are some of the network's classes."""
    own = (subset.index["split"] == "val") & [
        domain in slice_.data.domains for domain in subset.index["domain"]
    ]
    if not own.any():
        return {}
    try:
        read_as(network, classes, subset.classes)
    except UnknownClassesError:
        return {}
    images = load_images(subset, slice_.data, "val", slice_.compute.device)
    found = evaluate(network, images, slice_.recipe.batch_size, slice_.compute)
    network.readout = None  # which is no part of the network
    return found


def digest(state: dict[str, Tensor]) -> str:
    """SHA-256 of names, shapes and numbers, where there is no file to take it of."""
    total = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        total.update(f"{name}\0{tuple(tensor.shape)}\0".encode())
        total.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return total.hexdigest()
