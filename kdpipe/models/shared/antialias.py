"""Blur pooling in place of plain subsampling in torchvision's networks.

Zhang 2019, Sec. 3.2, and the networks that he published: max pooling takes the maximum of 2×2
pixels at every place, average pooling becomes blur pooling, and a convolution of stride 2 is
computed at every place, with blur pooling behind the ReLU that follows, before the next
convolution. The first convolution of a network keeps its stride.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

from torch import Tensor, nn

from kdpipe.models.shared.blur_pool import BlurPool


def _resnet(body: nn.Module) -> None:
    _pools(body)
    for block in _blocks(body, "BasicBlock", "Bottleneck"):
        if block.stride == 1:
            continue
        if hasattr(block, "conv3"):
            _subsample_later(block.conv2, block.conv3)
        else:
            _subsample_later(block.conv1, block.conv2)
        shortcut = block.downsample[0]
        _subsample_later(shortcut, shortcut)


def _mobilenet(body: nn.Module) -> None:
    for block in _blocks(body, "InvertedResidual"):
        if block.stride != 1:
            # expansion, depthwise convolution, projection, normalisation
            _subsample_later(block.conv[-3][0], block.conv[-2])


def _pools(body: nn.Module) -> None:
    channels = 0
    for module in list(body.modules()):
        if isinstance(module, nn.Conv2d):
            channels = module.out_channels
        elif isinstance(module, nn.MaxPool2d | nn.AvgPool2d):
            module.kernel_size = 2 if isinstance(module, nn.MaxPool2d) else 1
            module.stride, module.padding = 1, 0
            module.add_module("blur", BlurPool(channels))
            module.register_forward_hook(_blur_output)


ANTIALIASED: dict[str, Callable[[nn.Module], None]] = {
    "resnet": _resnet,
    "resnext": _resnet,
    "wide_resnet": _resnet,
    "vgg": _pools,
    "densenet": _pools,
    "mobilenet_v2": _mobilenet,
}
"""Changes a network of the family in place, keeping its shapes and the names of its weights."""


def _blocks(body: nn.Module, *kinds: str) -> Iterator[Any]:
    return (module for module in body.modules() if type(module).__name__ in kinds)


def _subsample_later(strided: nn.Conv2d, following: nn.Conv2d) -> None:
    """Move the stride of one convolution to a blur pooling just before another."""
    strided.stride = (1, 1)
    following.add_module("blur", BlurPool(following.in_channels))
    following.register_forward_pre_hook(_blur_input)


def _blur_input(module: nn.Module, args: tuple[Tensor]) -> tuple[Tensor]:
    return (cast(nn.Module, module.blur)(args[0]),)


def _blur_output(module: nn.Module, _args: Any, output: Tensor) -> Tensor:
    return cast(nn.Module, module.blur)(output)
