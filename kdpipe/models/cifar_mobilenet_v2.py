"""MobileNetV2 for small images."""

from __future__ import annotations

from collections import OrderedDict

from pydantic import Field
from torch import Tensor, nn

from kdpipe.base.options import Options
from kdpipe.models.base import Builder, Layers, builders
from kdpipe.models.shared.init import he_normal

# Channels, blocks and stride of the stages at width 1; the first does not expand.
STAGES = (
    (16, 1, 1),
    (24, 2, 1),
    (32, 3, 2),
    (64, 4, 2),
    (96, 3, 1),
    (160, 3, 2),
    (320, 1, 1),
)
STEM, HEAD = 32, 1280


class CifarMobileNetV2Options(Options):
    width: float = Field(0.5, gt=0, description="Factor of the channels.")
    expansion: int = Field(6, ge=1, description="T, of the channels inside of a block.")


def _conv(
    before: int, after: int, kernel: int, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    return [
        nn.Conv2d(before, after, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(after),
    ]


class Block(nn.Module):
    """Sandler et al. 2018, Fig. 4d: expand, filter each channel, project without a ReLU."""

    def __init__(self, before: int, after: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = before * expansion
        self.main = nn.Sequential(
            *_conv(before, wide, 1),
            nn.ReLU(),
            *_conv(wide, wide, 3, stride, wide),
            nn.ReLU(),
            *_conv(wide, after, 1),
        )
        self.residual = stride == 1 and before == after

    def forward(self, x: Tensor) -> Tensor:
        return x + self.main(x) if self.residual else self.main(x)


@builders.register("cifar_mobilenet_v2")
class CifarMobileNetV2(Builder):
    """MobileNetV2 (Sandler et al. 2018) of half width, as Tian, Krishnan & Isola 2020 use it on
    CIFAR: the second stage keeps the resolution, so that 2×2 of 32×32 pixels are left; 812,836
    parameters with 100 classes."""

    Options = CifarMobileNetV2Options

    def body(self, n_classes: int) -> nn.Module:
        o = self.options
        before = int(STEM * o.width)
        parts: OrderedDict[str, nn.Module] = OrderedDict(
            stem=nn.Sequential(*_conv(3, before, 3, 2), nn.ReLU())
        )
        for k, (channels, depth, stride) in enumerate(STAGES, 1):
            after, stage = int(channels * o.width), nn.Sequential()
            for i in range(depth):
                stage.append(
                    Block(before, after, stride if i == 0 else 1, 1 if k == 1 else o.expansion)
                )
                before = after
            parts[f"stage{k}"] = stage
        head = max(HEAD, int(HEAD * o.width))
        parts["head"] = nn.Sequential(*_conv(before, head, 1), nn.ReLU())
        parts |= {"pool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten()}
        return he_normal(nn.Sequential(parts | {"fc": nn.Linear(head, n_classes)}))

    def layers(self, body: nn.Module) -> Layers:
        return Layers(
            penultimate="flatten",
            cam="head",
            hint="stage4",
            cka=("stage2", "stage3", "stage5", "stage7", "head", "flatten", "fc"),
            stages=("stage2", "stage3", "stage5", "stage7"),
        )
