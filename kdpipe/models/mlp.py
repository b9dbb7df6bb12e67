"""A perceptron on the mean colour of an image; without hidden layers, a linear network."""

from __future__ import annotations

from collections import OrderedDict
from itertools import pairwise
from typing import Annotated

from pydantic import Field
from torch import nn

from kdpipe.base.options import Options
from kdpipe.models.base import Builder, Layers, builders


class MLPOptions(Options):
    hidden: list[Annotated[int, Field(ge=1)]] = Field(
        [], description="Widths of the hidden layers; none for a linear network."
    )


@builders.register("mlp")
class MLP(Builder):
    """conv 1×1 – mean over the pixels – ReLU – fc – ReLU – … – fc.

    The first layer acts on every pixel before the mean is taken, which gives the same numbers as
    the other way round and leaves a layer with spatial extent. Images of any size. Without hidden
    layers the mean of the first layer is the logits, and stands for the penultimate layer too.
    """

    Options = MLPOptions

    def body(self, n_classes: int) -> nn.Module:
        widths = [*self.options.hidden, n_classes]
        layers: OrderedDict[str, nn.Module] = OrderedDict(
            conv1=nn.Conv2d(3, widths[0], 1), mean=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten()
        )
        for k, (before, after) in enumerate(pairwise(widths), 1):
            layers[f"relu{k}"] = nn.ReLU()
            layers[f"fc{k + 1}"] = nn.Linear(before, after)
        return nn.Sequential(layers)

    def layers(self, body: nn.Module) -> Layers:
        depth = len(self.options.hidden)
        if not depth:
            return Layers(
                penultimate="flatten", cam="conv1", hint="flatten", cka=("conv1", "flatten")
            )
        hidden = [f"relu{k}" for k in range(1, depth + 1)]
        return Layers(
            penultimate=hidden[-1],
            cam="conv1",
            hint=hidden[(depth - 1) // 2],
            cka=("conv1", *hidden, f"fc{depth + 1}"),
        )
