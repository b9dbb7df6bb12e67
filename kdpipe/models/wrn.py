"""Wide residual networks."""

from __future__ import annotations

from collections import OrderedDict

from pydantic import Field, model_validator
from torch import Tensor, nn

from kdpipe.base.options import Options
from kdpipe.models.base import Builder, Layers, builders
from kdpipe.models.shared.dropout import Dropout
from kdpipe.models.shared.init import he_normal


class WRNOptions(Options):
    depth: int = Field(40, ge=10, description="6n + 4: three stages of n blocks.")
    width: int = Field(2, ge=1, description="Factor of the channels 16, 32 and 64.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Between the convolutions of a block.")

    @model_validator(mode="after")
    def _depth(self) -> WRNOptions:
        if (self.depth - 4) % 6:
            raise ValueError(f"depth: 6n + 4, such as 16, 28 or 40, not {self.depth}")
        return self


class Block(nn.Module):
    """Normalisation and ReLU come before each of the two convolutions; where the shape changes,
    the shortcut starts behind the first of them."""

    def __init__(self, before: int, after: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.bn1, self.relu1 = nn.BatchNorm2d(before), nn.ReLU()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.bn2, self.relu2 = nn.BatchNorm2d(after), nn.ReLU()
        self.dropout = Dropout(dropout)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.shortcut = None if before == after else nn.Conv2d(before, after, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        active = self.relu1(self.bn1(x))
        kept = x if self.shortcut is None else self.shortcut(active)
        return kept + self.conv2(self.dropout(self.relu2(self.bn2(self.conv1(active)))))


@builders.register("wrn")
class WRN(Builder):
    """WRN-d-k (Zagoruyko & Komodakis 2016, Sec. 3); WRN-40-2 has 2,255,156 parameters with 100
    classes."""

    Options = WRNOptions

    def body(self, n_classes: int) -> nn.Module:
        o = self.options
        before, blocks = 16, (o.depth - 4) // 6
        parts: OrderedDict[str, nn.Module] = OrderedDict(
            stem=nn.Conv2d(3, before, 3, padding=1, bias=False)
        )
        for k, after in enumerate((16 * o.width, 32 * o.width, 64 * o.width), 1):
            stage = nn.Sequential()
            for i in range(blocks):
                stage.append(Block(before, after, 2 if k > 1 and i == 0 else 1, o.dropout))
                before = after
            parts[f"stage{k}"] = stage
        parts |= {"bn": nn.BatchNorm2d(before), "relu": nn.ReLU()}
        parts |= {"pool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten()}
        return he_normal(nn.Sequential(parts | {"fc": nn.Linear(before, n_classes)}))

    def layers(self, body: nn.Module) -> Layers:
        return Layers(
            penultimate="flatten",
            cam="relu",
            hint="stage2",
            cka=("stem", "stage1", "stage2", "stage3", "relu", "flatten", "fc"),
            stages=("stage1", "stage2", "stage3"),
        )
