"""A small classifier whose outputs are wrong in one of several ways."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kdpipe.models.base import Layers, Network

IMAGES = torch.rand(8, 3, 8, 8, generator=torch.Generator().manual_seed(1))


class Small(nn.Module):
    """A classifier whose answer ``ends`` in something else than logits."""

    def __init__(self, ends: str = "logits", classes: int = 3) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.ends = ends
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Linear(4, classes)

    def forward(self, images: Tensor) -> Tensor:
        x = self.norm(self.conv(images)).relu()
        x = x.mean((2, 3))
        if self.ends == "dropout":
            x = nn.functional.dropout(x, 0.5)  # also in evaluation mode
        if self.ends == "noise":
            x = x + 0.1 * torch.rand_like(x)
        if self.ends == "squeeze":
            return (20 * self.head(x)).squeeze()
        if self.ends == "fixed":
            return 20 * self.head(x.view(8, 4))
        if self.ends == "batch":
            x = x - x.mean(0)
        z = 20 * self.head(x)
        if self.ends == "no_grad":
            return z.detach()
        if self.ends == "nan":
            return z / 0
        return {
            "softmax": z.softmax(1),
            "log_softmax": z.log_softmax(1),
            "sigmoid": z.sigmoid(),
        }.get(self.ends, z)


def network(ends: str = "logits", mean: float = 0.5, std: float = 0.3) -> Network:
    layers = Layers(penultimate="", cam="conv", hint="conv", cka=("conv",))
    return Network(Small(ends), layers, [mean] * 3, [std] * 3).eval()
