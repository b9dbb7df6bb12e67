"""Whether networks and their weights fit, before any image is read."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from kdpipe.base.errors import KdpipeError
from kdpipe.base.plugin import PluginRef, explain, of_library, resolve
from kdpipe.models import builders
from kdpipe.models.base import build
from kdpipe.models.shared.code import CodeOptions
from kdpipe.models.weights.find import Found, find, part_for
from kdpipe.models.weights.options import Weights
from kdpipe.models.weights.state_dicts import UNREAD, Shapes
from kdpipe.plan.counting import without_weights
from kdpipe.plan.plan import Plan
from kdpipe.stages.shared.class_names import class_names
from kdpipe.stages.shared.classes import UnknownClassesError, read_as, unknown
from kdpipe.stages.shared.from_weights import check_outputs, filled
from kdpipe.stages.subset import SubsetSettings, build_index, open_source

TRIED = 3
"""Drawn images that a network is tried with: some take only two, some no single one."""
IMAGENET = 1000


def check_alone(models: Mapping[str, dict[str, Any]], size: int | None) -> None:
    """Build every network and give it its weights, whatever the images are.

    ``size``: pixels of a side, where a network does not say what it was trained on; None if
    unknown. Raises KdpipeError, about a model of the audit, for one that does not fit.
    """
    for name, model in models.items():
        try:
            _look(model, size)
        except KdpipeError as error:
            raise KdpipeError(f"models/{name}/seed0: {error}") from None


def check_networks(plan: Plan) -> None:
    """Build every network, give it its weights and try it, for the classes and the size of the
    images, of which none is decoded.

    Raises KdpipeError, about a model of the audit, for one that does not fit.
    """
    root = plan.study.data.root
    data_root = Path(root) if root else None
    classes: dict[str, list[str]] = {}
    for job in plan.by_stage("subset"):
        assert isinstance(job.settings, SubsetSettings)
        with redirect_stdout(StringIO()):  # the stage says it all again
            listing = open_source(job.settings, data_root).listing()
            classes[job.settings.name] = build_index(job.settings, listing, data_root)[1]
    for name, model in plan.study.models.items():
        if model.weights is None:
            continue
        of_set, data = classes[model.data.set], plan.study.data.sets[model.data.set]
        try:
            found = find(model.weights, model.network.make(), data_root)
            _fits_images(model.network, model.weights, found, of_set, model.data.set, data)
        except KdpipeError as error:
            raise KdpipeError(f"models/{name}/seed0: {error}") from None


def _fits_images(
    ref: PluginRef, weights: Weights, found: Found, of_set: list[str], set_name: str, data: Any
) -> None:
    """Raise KdpipeError unless the network answers images of the set and knows its classes."""
    if found.classes and weights.classes == "data":
        weights = weights.model_copy(update={"classes": found.classes})
    tried = weights.outputs if ref.cls.third_party or weights.outputs != "auto" else None
    size = data.size
    images = torch.rand(TRIED, 3, size, size, generator=torch.Generator().manual_seed(0))
    refused: list[KdpipeError] = []
    for names in class_names(weights, of_set, set_name):
        try:
            network, _ = filled(ref, weights, found, len(names), size)
            check_outputs(network.eval(), names, images, "the network", tried)
            read_as(network, names, of_set, data.class_map)
            return
        except UnknownClassesError:
            refused.append(unknown("the network", names, of_set, set_name))
        except KdpipeError as error:
            refused.append(error)
    raise refused[0]


def _look(model: dict[str, Any], size: int | None) -> None:
    """Raise KdpipeError for weights that fit the network for no images at all."""
    ref = resolve(builders, of_library(model["network"]))
    try:
        weights = Weights(**model["weights"])
    except ValidationError as error:
        raise KdpipeError(f"weights: {explain(error)}.") from None
    builder = ref.make()
    found = find(weights, builder, None)
    if builder.sealed:
        return
    size = weights.size or getattr(ref.options, "image_size", None) or size
    n_classes = _outputs(ref, weights, found, size)
    try:
        filled(ref, weights, found, n_classes, size)
    except KdpipeError:
        # Without a size, a tensor of another shape may only be for other images.
        if size is not None or _other_names(ref, weights, found, n_classes):
            raise


def _outputs(ref: PluginRef, weights: Weights, found: Found, size: int | None) -> int:
    """How many outputs the network has: those of its classes, or where those are of the data, what
    the weights have where the shapes of the network depend on it."""
    if isinstance(weights.classes, list):
        return len(weights.classes)
    if weights.classes == "imagenet":
        return IMAGENET
    if isinstance(ref.options, CodeOptions):
        return 2  # whatever it is told, its code decides
    few, more = (_shapes(ref, n, size) for n in (7, 11))
    state = part_for(found, few, weights.key_map).state
    for name in few.keys() & more.keys() & state.keys():
        for k, (a, b) in enumerate(zip(few[name], more[name], strict=True)):
            if (a, b) == (7, 11) and len(state[name].shape) == len(few[name]):
                return state[name].shape[k]
    return 2


def _other_names(ref: PluginRef, weights: Weights, found: Found, n_classes: int) -> bool:
    wanted = _shapes(ref, n_classes, None)
    state = part_for(found, wanted, weights.key_map).state
    return any(not name.endswith(UNREAD) for name in set(wanted) ^ set(state))


def _shapes(ref: PluginRef, n_classes: int, size: int | None) -> Shapes:
    if isinstance(ref.options, CodeOptions):
        network = build(ref, n_classes, [0.5] * 3, [1.0] * 3, 0, size)
    else:
        network = without_weights(ref, n_classes, size)
    return {name: tuple(t.shape) for name, t in network.body.state_dict().items()}
