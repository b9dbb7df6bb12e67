"""Where a student starts, if not from its own draw: at another network's weights, with noise."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from kdpipe.base.errors import KdpipeError
from kdpipe.base.seeding import stream
from kdpipe.models.base import Network


def place(
    network: Network, source: Mapping[str, Tensor], layers: list[str], noise: float, seed: int
) -> None:
    """Give ``network`` the tensors of ``source``, in place, and noise.

    ``source``: the state of the other network's body. ``layers``: which ones, all if empty.
    A parameter w of ``source`` becomes w + ``noise``·std(w)·ε, where std is over all elements of
    the tensor (divided by their number) and ε is standard normal, from a stream for ``seed`` and
    the tensor's name. Running statistics come without noise, and the normalisation of images stays
    the student's own. Raises KdpipeError naming the first tensor that differs in shape.
    """
    own = network.body.state_dict()
    chosen = tensors_of(network, layers)
    if said := difference(own, source, chosen):
        raise KdpipeError(f"init: {said}.")
    parameters = {name for name, _ in network.body.named_parameters()}
    with torch.no_grad():
        for name in chosen:
            value = source[name].to(own[name])
            if noise and name in parameters:
                value = value + noise * value.std(correction=0) * _normal(value, seed, name)
            own[name].copy_(value)


def _normal(like: Tensor, seed: int, name: str) -> Tensor:
    """Standard normal numbers, the same on every device."""
    generator = torch.Generator().manual_seed(stream("noise of the start", seed, name))
    return torch.randn(like.shape, generator=generator).to(like)


def tensors_of(network: Network, layers: list[str]) -> list[str]:
    """Names of the tensors of ``layers``, all if empty. Raises KdpipeError for a layer that is
    not there, or has none."""
    names = list(network.body.state_dict())
    if not layers:
        return names
    found: dict[str, None] = {}
    for layer in layers:
        network.layer(layer)
        below = f"{network.dotted(layer)}."
        inside = [name for name in names if name.startswith(below)]
        if not inside:
            raise KdpipeError(f"init: the layer '{layer}' has no weights; name one that has.")
        found |= dict.fromkeys(inside)
    return [name for name in names if name in found]


def difference(own: Mapping[str, Tensor], source: Mapping[str, Tensor], chosen: list[str]) -> str:
    """How the first tensor that is not the same in both differs; empty where all are alike."""
    for name in chosen:
        there = tuple(source[name].shape) if name in source else None
        if there != (here := tuple(own[name].shape)):
            other = f"{_by(there)} in the other" if there is not None else "not in the other"
            return (
                f"the student's tensor '{name}' is {_by(here)} and {other} network; take one of "
                f"the same architecture, or only layers that are alike"
            )
    return ""


def _by(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "a single number"
