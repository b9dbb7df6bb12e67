"""VGG networks with batch normalisation for small images."""

from __future__ import annotations

from collections import OrderedDict
from typing import Literal

from pydantic import Field
from torch import nn

from kdpipe.base.options import Options
from kdpipe.models.base import Builder, Layers, builders
from kdpipe.models.shared.init import he_normal

WIDTHS = (64, 128, 256, 512, 512)
# Convolutions in each of the five blocks.
DEPTHS = {
    "vgg8": (1, 1, 1, 1, 1),
    "vgg11": (1, 1, 2, 2, 2),
    "vgg13": (2, 2, 2, 2, 2),
    "vgg16": (2, 2, 3, 3, 3),
    "vgg19": (2, 2, 4, 4, 4),
}


class CifarVGGOptions(Options):
    arch: Literal["vgg8", "vgg11", "vgg13", "vgg16", "vgg19"] = Field("vgg8", description="Depth.")


@builders.register("cifar_vgg")
class CifarVGG(Builder):
    """VGG (Simonyan & Zisserman 2015) with one linear layer, as Tian, Krishnan & Isola 2020 use
    it on CIFAR: max pooling after each of the first three blocks only, so that the last two see
    4×4 of 32×32 pixels.

    With 100 classes VGG8 has 3,965,028 and VGG13 9,462,180 parameters.
    """

    Options = CifarVGGOptions

    def body(self, n_classes: int) -> nn.Module:
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        before = 3
        for k, (depth, width) in enumerate(zip(DEPTHS[self.options.arch], WIDTHS, strict=True), 1):
            block = nn.Sequential()
            for _ in range(depth):
                block.extend(
                    [nn.Conv2d(before, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
                )
                before = width
            parts[f"block{k}"] = block
            if k <= 3:
                parts[f"pool{k}"] = nn.MaxPool2d(2)
        parts |= {"pool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten()}
        return he_normal(nn.Sequential(parts | {"fc": nn.Linear(before, n_classes)}))

    def layers(self, body: nn.Module) -> Layers:
        blocks = tuple(f"block{k}" for k in range(1, 6))
        return Layers(
            penultimate="flatten",
            cam="block5",
            hint="block3",
            cka=(*blocks, "flatten", "fc"),
            stages=blocks[1:],
        )
