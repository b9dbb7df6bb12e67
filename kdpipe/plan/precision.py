"""Check layer by layer, when a study is planned, that bf16 gives right gradients on this CPU.

torch chooses its bf16 kernels by the shapes of a layer, and some are wrong: in torch 2.15 on a Xeon
with AMX, the weight gradient of a 3×3 convolution of stride 2 on 1×1 maps is uninitialised memory.
The training then ends in a NaN loss with any learning rate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdpipe.base.plugin import PluginRef
from kdpipe.models.base import Network, build
from kdpipe.models.shared.code import CodeOptions
from kdpipe.plan.counting import without_weights
from kdpipe.study.schema import Study

IMAGES = 2
TRIALS = 3
"""Repeated, because the result of a wrong kernel depends on what was in memory before."""
TOLERANCE = 0.1
"""Of the norm of a difference, relative to the norm in fp32. Right kernels stay below 0.004."""
REAL = 64
"""Up to this many pixels a side, the shapes of the layers come from a black image. Above, torch's
meta device is cheaper, although its first use costs a second."""
CROPPED, LARGE = 8, 10**7
"""Convolutions of more multiplications an image than ``LARGE`` are tried on maps of this side."""
OUTPUTS = 256
"""Outputs of a linear map that are tried."""


@dataclass(frozen=True)
class Shape:
    """A convolution or a linear map, and what goes into it, per image."""

    weight: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...] | str
    dilation: tuple[int, ...]
    groups: int
    input: tuple[int, ...]

    def __str__(self) -> str:
        if len(self.weight) == 2:
            return f"a linear map of {self.weight[1]} values to {self.weight[0]}"
        kernel, maps = ("×".join(map(str, size)) for size in (self.weight[2:], self.input[1:]))
        return (
            f"a {kernel} convolution of stride {self.stride[0]} from {self.input[0]} to "
            f"{self.weight[0]} channels on {maps} maps"
        )


def fault_of_bf16(study: Study, n_threads: int) -> str | None:
    """A sentence about the first layer of a study that bf16 gets wrong on this CPU, or None.

    Looks at every convolution and linear map of every network, at the size of its images.
    Third-party code is left out, because only jobs may run it.
    """
    tried: set[Shape] = set()
    for name, model in study.models.items():
        if isinstance(model.network.options, CodeOptions):
            continue
        side = (model.weights and model.weights.size) or study.data.sets[model.data.set].size
        for layer, shape in shapes(model.network, side):
            if shape not in tried and (error := deviation(shape, n_threads)) > TOLERANCE:
                return (
                    f"in bf16 this CPU gets the gradient of {shape} wrong (models.{name}, layer "
                    f"{layer}, off by {error:.2g} of its size)"
                )
            tried.add(shape)
    return None


@cache
def shapes(network: PluginRef, side: int) -> tuple[tuple[str, Shape], ...]:
    """The layers of a network and their shapes at ``side`` pixels.

    Nothing where it cannot be built or run: ``kdpipe check`` says why.
    """
    try:
        return tuple(_shapes(network, side))
    except Exception:
        return ()


@torch.no_grad()
def _shapes(ref: PluginRef, side: int) -> Iterator[tuple[str, Shape]]:
    # With two classes, because the true number would need the data.
    small = side <= REAL
    net: Network = (
        build(ref, 2, [0.5] * 3, [1.0] * 3, 0, side) if small else without_weights(ref, 2, side)
    )
    found: dict[str, Shape] = {}

    def keep(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            shape = tuple(inputs[0].shape[1:])
            if isinstance(module, nn.Conv2d) and module.padding_mode == "zeros":
                how = (module.stride, module.padding, module.dilation, module.groups)
                found[name] = Shape(tuple(module.weight.shape), *how, _cropped(module, shape))
            elif isinstance(module, nn.Linear):
                rows = min(torch.Size(shape[:-1]).numel(), CROPPED**2)
                input_ = (rows, shape[-1]) if len(shape) > 1 else shape
                weight = (min(OUTPUTS, module.out_features), module.in_features)
                found[name] = Shape(weight, (), (), (), 1, input_)

        return hook

    for name, module in net.body.named_modules():
        module.register_forward_pre_hook(keep(name))
    net.eval()(torch.zeros(1, 3, side, side, device=net.mean.device))
    return iter(found.items())


def _cropped(conv: nn.Conv2d, shape: tuple[int, ...]) -> tuple[int, ...]:
    places = shape[1] * shape[2] // (conv.stride[0] * conv.stride[1])
    if places * conv.weight.numel() <= LARGE:
        return shape
    least = max(
        CROPPED, *(size * step for size, step in zip(conv.kernel_size, conv.dilation, strict=True))
    )
    return (shape[0], min(shape[1], least), min(shape[2], least))


@cache
def deviation(shape: Shape, n_threads: int) -> float:
    """How far gradients and output in bf16 are from those in fp32, at most, relative to their norm.

    Random images, weights and gradients, the same in every process.
    """
    with threads(n_threads), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        images = torch.randn(IMAGES, *shape.input)
        weight = torch.randn(shape.weight) / weight_scale(shape)
        if weight.dim() == 4:
            images = images.contiguous(memory_format=torch.channels_last)
            weight = weight.contiguous(memory_format=torch.channels_last)
        exact = _passes(shape, images, weight, bf16=False)
        worst = 0.0
        # On larger maps every trial runs the same kernel with the same result.
        tiny = images.dim() == 4 and images[0, 0].numel() < CROPPED**2
        for _ in range(TRIALS if tiny else 1):
            rounded = _passes(shape, images, weight, bf16=True)
            for right, found in zip(exact, rounded, strict=True):
                off = float((found - right).norm() / right.norm().clamp(min=1e-12))
                worst = max(worst, off if off == off else float("inf"))  # NaN is as wrong
        return worst


def weight_scale(shape: Shape) -> float:
    """Root of the inputs of one output, so that outputs have the size of inputs."""
    return float(torch.Size(shape.weight[1:]).numel()) ** 0.5


def _passes(shape: Shape, images: Tensor, weight: Tensor, *, bf16: bool) -> list[Tensor]:
    """Output, gradient of the weights and gradient of the images, in fp32."""
    x, w = images.clone().requires_grad_(), weight.clone().requires_grad_()
    # A kernel gets the memory that is freed here for its result.
    dirt = [torch.full((x.numel(),), float("nan")), torch.full((w.numel(),), float("nan"))]
    del dirt
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
        if len(shape.weight) == 2:
            y = F.linear(x, w)
        else:
            y = F.conv2d(x, w, None, shape.stride, shape.padding, shape.dilation, shape.groups)
    y = y.float()
    # The same gradient in both precisions, without another draw.
    pattern = torch.cos(torch.arange(y.numel(), dtype=torch.float32)).view_as(y)
    y.backward(pattern)
    assert x.grad is not None
    assert w.grad is not None
    return [y.detach(), w.grad, x.grad]


@contextmanager
def threads(number: int) -> Iterator[None]:
    """torch computes with ``number`` threads, and with as many as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
