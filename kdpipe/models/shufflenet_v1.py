"""ShuffleNet: grouped pointwise convolutions whose groups exchange channels."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from kdpipe.models.base import Builder, Layers, builders
from kdpipe.models.shared.init import he_normal

GROUPS, STEM = 3, 24
# Channels and blocks of the stages, each of which begins with stride 2.
STAGES = ((240, 4), (480, 8), (960, 4))


class Shuffle(nn.Module):
    """Deal the channels of each group out to all groups."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        return x.unflatten(1, (self.groups, -1)).transpose(1, 2).flatten(1, 2)


class Unit(nn.Module):
    """Zhang et al. 2018, Fig. 2b with stride 1 and Fig. 2c with stride 2, where the average
    pooled input is appended in place of added; with a ReLU behind the depthwise convolution, as
    in the implementation that the distillation literature compares."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        own = after - before if stride > 1 else after
        # The few channels of the stem are not cut into groups.
        groups, middle = 1 if before == STEM else GROUPS, own // 4
        self.main = nn.Sequential(
            nn.Conv2d(before, middle, 1, groups=groups, bias=False),
            nn.BatchNorm2d(middle),
            nn.ReLU(),
            Shuffle(groups),
            nn.Conv2d(middle, middle, 3, stride, 1, groups=middle, bias=False),
            nn.BatchNorm2d(middle),
            nn.ReLU(),
            nn.Conv2d(middle, own, 1, groups=GROUPS, bias=False),
            nn.BatchNorm2d(own),
        )
        self.pool = nn.AvgPool2d(3, 2, 1) if stride > 1 else nn.Identity()
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        main, kept = self.main(x), self.pool(x)
        return self.relu(torch.cat([main, kept], 1) if self.stride > 1 else main + kept)


@builders.register("shufflenet_v1")
class ShuffleNetV1(Builder):
    """ShuffleNet (Zhang et al. 2018) of three groups with a 1×1 stem, as Tian, Krishnan & Isola
    2020 use it on CIFAR; 949,258 parameters with 100 classes."""

    def body(self, n_classes: int) -> nn.Module:
        parts: OrderedDict[str, nn.Module] = OrderedDict(
            stem=nn.Sequential(nn.Conv2d(3, STEM, 1, bias=False), nn.BatchNorm2d(STEM), nn.ReLU())
        )
        before = STEM
        for k, (after, depth) in enumerate(STAGES, 1):
            stage = nn.Sequential()
            for i in range(depth):
                stage.append(Unit(before, after, 2 if i == 0 else 1))
                before = after
            parts[f"stage{k}"] = stage
        parts |= {"pool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten()}
        return he_normal(nn.Sequential(parts | {"fc": nn.Linear(before, n_classes)}))

    def layers(self, body: nn.Module) -> Layers:
        return Layers(
            penultimate="flatten",
            cam="stage3",
            hint="stage2",
            cka=("stem", "stage1", "stage2.3", "stage2", "stage3", "flatten", "fc"),
            stages=("stage1", "stage2", "stage3"),
        )
