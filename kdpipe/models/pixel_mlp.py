"""A perceptron on the pixels of an image."""

from __future__ import annotations

from collections import OrderedDict
from itertools import pairwise
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from kdpipe.base.options import Options
from kdpipe.models.base import Builder, Layers, builders

SIDE = 28
"""Height and width of the images where the data set does not say."""


class PixelMLPOptions(Options):
    hidden: list[Annotated[int, Field(ge=1)]] = Field(
        [256, 256], description="Widths of the hidden layers; none for a linear network."
    )
    grey: bool = Field(
        False,
        description="Whether the first layer sees the mean of the three channels: 784 numbers of "
        "28×28 pixels, and not 2352.",
    )


class Grey(nn.Module):
    """The mean of the channels: (n, c, h, w) to (n, 1, h, w)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(1, keepdim=True)


@builders.register("pixel_mlp")
class PixelMLP(Builder):
    """flatten – fc – ReLU – … – fc on images of one size.

    With the widths 256, 256 and ``grey``, the 784-256-256 perceptron for MNIST. Its only layer with
    places is ``pixels``, the normalised image itself, where Grad-CAM weighs one gradient a channel.
    """

    Options = PixelMLPOptions

    def body(self, n_classes: int) -> nn.Module:
        self.image_size = self.side or SIDE
        inputs = (1 if self.options.grey else 3) * self.image_size**2
        layers: OrderedDict[str, nn.Module] = OrderedDict(
            pixels=Grey() if self.options.grey else nn.Identity(), flatten=nn.Flatten()
        )
        widths = [inputs, *self.options.hidden, n_classes]
        for k, (before, after) in enumerate(pairwise(widths), 1):
            layers[f"fc{k}"] = nn.Linear(before, after)
            if k < len(widths) - 1:
                layers[f"relu{k}"] = nn.ReLU()
        return nn.Sequential(layers)

    def layers(self, body: nn.Module) -> Layers:
        depth = len(self.options.hidden)
        hidden = [f"relu{k}" for k in range(1, depth + 1)]
        return Layers(
            penultimate=hidden[-1] if hidden else "flatten",
            cam="pixels",
            hint=hidden[(depth - 1) // 2] if hidden else "flatten",
            cka=("pixels", *hidden, f"fc{depth + 1}"),
        )
