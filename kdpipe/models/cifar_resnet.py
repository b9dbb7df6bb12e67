"""Residual networks for small images, as the literature on distillation uses them on CIFAR."""

from __future__ import annotations

from collections import OrderedDict
from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from kdpipe.base.options import Options
from kdpipe.models.base import Builder, Layers, builders
from kdpipe.models.shared.init import he_normal

# Blocks per stage, channels of the stem and of the stages, whether a block is a bottleneck.
DEPTHS = {
    "resnet20": ((3, 3, 3), 16, (16, 32, 64), False),
    "resnet32": ((5, 5, 5), 16, (16, 32, 64), False),
    "resnet56": ((9, 9, 9), 16, (16, 32, 64), False),
    "resnet110": ((18, 18, 18), 16, (16, 32, 64), False),
    "resnet50": ((3, 4, 6, 3), 64, (64, 128, 256, 512), True),
}


class CifarResNetOptions(Options):
    arch: Literal["resnet20", "resnet32", "resnet56", "resnet110", "resnet50"] = Field(
        "resnet20", description="Depth."
    )


class Block(nn.Module):
    """Two 3×3 convolutions, or 1×1 – 3×3 – 1×1 with four times the channels at the end, beside a
    shortcut, which is a 1×1 convolution where the shape changes."""

    def __init__(self, before: int, width: int, stride: int, bottleneck: bool) -> None:
        super().__init__()
        after = 4 * width if bottleneck else width
        kernels = (1, 3, 1) if bottleneck else (3, 3)
        channels = (before, width, width, after) if bottleneck else (before, width, after)
        strides = (1, stride, 1) if bottleneck else (stride, 1)
        self.main = nn.Sequential()
        for k, (kernel, step) in enumerate(zip(kernels, strides, strict=True)):
            if k:
                self.main.append(nn.ReLU())
            self.main.append(
                nn.Conv2d(channels[k], channels[k + 1], kernel, step, kernel // 2, bias=False)
            )
            self.main.append(nn.BatchNorm2d(channels[k + 1]))
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or before != after:
            self.shortcut = nn.Sequential(
                nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after)
            )
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.main(x) + self.shortcut(x))


@builders.register("cifar_resnet")
class CifarResNet(Builder):
    """ResNet-20, -32, -56, -110 (He et al. 2016, Sec. 4.2, with 1×1 convolutions as shortcuts)
    and ResNet-50 with a stem of stride 1, as Tian, Krishnan & Isola 2020 use it.

    278,324, 472,756, 861,620, 1,736,564 and 23,705,252 parameters with 100 classes.
    """

    Options = CifarResNetOptions

    def body(self, n_classes: int) -> nn.Module:
        depths, stem, widths, bottleneck = DEPTHS[self.options.arch]
        parts: OrderedDict[str, nn.Module] = OrderedDict(
            stem=nn.Sequential(
                nn.Conv2d(3, stem, 3, padding=1, bias=False), nn.BatchNorm2d(stem), nn.ReLU()
            )
        )
        before = stem
        for k, (depth, width) in enumerate(zip(depths, widths, strict=True), 1):
            blocks = nn.Sequential()
            for i in range(depth):
                blocks.append(Block(before, width, 2 if k > 1 and i == 0 else 1, bottleneck))
                before = 4 * width if bottleneck else width
            parts[f"stage{k}"] = blocks
        parts |= {"pool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten()}
        return he_normal(nn.Sequential(parts | {"fc": nn.Linear(before, n_classes)}))

    def layers(self, body: nn.Module) -> Layers:
        depths = DEPTHS[self.options.arch][0]
        stages = [f"stage{k + 1}" for k in range(len(depths))]
        if len(stages) == 3:  # seven representations: the middle of the second stage is one
            stages.insert(1, f"stage2.{depths[1] // 2}")
        return Layers(
            penultimate="flatten",
            cam=stages[-1],
            hint="stage2",
            cka=("stem", *stages, "flatten", "fc"),
            stages=tuple(name for name in stages if "." not in name),
        )
