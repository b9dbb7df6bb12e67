"""Count parameters, operations and activations of networks on torch's meta device."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from kdpipe.base.errors import KdpipeError
from kdpipe.base.plugin import PluginRef
from kdpipe.models.base import Network, build
from kdpipe.models.shared.by_shape import cannot_take, trace
from kdpipe.models.shared.code import CodeOptions
from kdpipe.models.shared.form import form_by_shapes

FLOAT = 4
"""Bytes of a number in fp32."""


@dataclass(frozen=True)
class Size:
    """Size of a network: ``parameters``, and for one image ``flops`` of the forward pass and
    ``activations``, the numbers that its layers put out."""

    parameters: int
    flops: int
    activations: int


def without_weights(
    ref: PluginRef, n_classes: int, side: int | None = None, auxiliary: int = 0
) -> Network:
    """A network for images of ``side`` × ``side`` pixels on torch's meta device: shapes, no
    weights.

    Raises KdpipeError when there is no such network, or it cannot take images of that size.
    """
    options = (ref, n_classes, [0.5] * 3, [1.0] * 3, 0, side, auxiliary)
    try:
        with torch.device("meta"):
            network = build(*options)
    except (NotImplementedError, RuntimeError):  # it reads values of a tensor while it is built
        network = build(*options)
    network = network.to("meta").eval()
    if side is not None and ref.cls.third_party:
        form_by_shapes(network, n_classes, torch.zeros(2, 3, side, side, device="meta"))
    return network


@torch.no_grad()
def tried(network: Network, ref: PluginRef, side: int) -> torch.Tensor:
    """Logits (1, classes), without values, of a network on the meta device for an image of
    ``side`` × ``side`` pixels.

    Raises KdpipeError when the architecture cannot take such images.
    """
    try:
        return network(torch.zeros(1, 3, side, side, device="meta"))
    except KdpipeError as error:
        raise KdpipeError(f"{words(ref)}: {error}") from None
    except Exception as error:  # whatever an architecture raises
        raise cannot_take(words(ref), side, error) from None


def outline(ref: PluginRef, n_classes: int, side: int, auxiliary: int = 0) -> Network:
    """A network after a trial on images of ``side`` × ``side`` pixels, on the meta device;
    third-party code decides itself on which device.

    Raises KdpipeError when there is no such network, or it cannot take images of that size.
    """
    if not isinstance(ref.options, CodeOptions):
        network = without_weights(ref, n_classes, side, auxiliary)
        tried(network, ref, side)
        return network
    network = build(ref, n_classes, [0.5] * 3, [1.0] * 3, 0, side).eval()
    trace(network.body, side)
    return network


def words(ref: PluginRef) -> str:
    """A network as a study names it."""
    return f"{ref.name}/{arch}" if (arch := ref.make().arch) else ref.name


@torch.no_grad()
def counted(network: Network, ref: PluginRef, side: int) -> Size:
    """Count in one forward pass of an image of ``side`` × ``side`` pixels on the meta device.

    Raises KdpipeError when the architecture cannot take such images.
    """
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
        tried(network, ref, side)
    parameters = sum(p.numel() for p in network.parameters())
    return Size(parameters, counter.get_total_flops(), values)
