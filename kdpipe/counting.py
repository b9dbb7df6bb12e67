"""Counting on networks that have shapes and no weights, on torch's meta device."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from kdpipe.models.base import Network, build
from kdpipe.plugin import PluginRef


@dataclass(frozen=True)
class Size:
    """Of one network at one image size: ``parameters``, FLOPs of one image's forward pass, and
    values that its layers put out for it."""

    parameters: int
    flops: int
    activations: int


def without_weights(ref: PluginRef, n_classes: int) -> Network:
    """A network on torch's meta device, to count on."""
    try:
        with torch.device("meta"):
            network = build(ref, n_classes, [0.5] * 3, [1.0] * 3, seed=0)
    except (NotImplementedError, RuntimeError):  # one that reads a tensor while it is built
        network = build(ref, n_classes, [0.5] * 3, [1.0] * 3, seed=0)
    return network.to("meta").eval()


@torch.no_grad()
def counted(network: Network, side: int) -> Size:
    """In one forward pass of an image of ``side`` × ``side`` pixels, which computes nothing."""
    values = 0

    def add(_module: object, _inputs: object, output: object) -> None:
        nonlocal values
        if isinstance(output, torch.Tensor):
            values += output.numel()

    for module in network.modules():
        if not list(module.children()):
            module.register_forward_hook(add)
    counter = FlopCounterMode(display=False)
    with counter:
        network(torch.zeros(1, 3, side, side, device="meta"))
    parameters = sum(p.numel() for p in network.parameters())
    return Size(parameters, counter.get_total_flops(), values)
