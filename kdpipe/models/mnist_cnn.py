"""The CNN of PyTorch's basic MNIST example, which the paper uses for its MNIST experiments."""

from __future__ import annotations

from collections import OrderedDict
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from kdpipe.base.errors import KdpipeError
from kdpipe.base.options import Options, optional
from kdpipe.models.base import Builder, Layers, builders
from kdpipe.models.shared.blur_pool import BlurPool
from kdpipe.models.shared.dropout import Dropout

SIDE = 28
"""Height and width of MNIST's images."""
SMALLEST = {False: 6, True: 7}
"""The same of the smallest images that convolutions and pooling leave a place of; the blur in the
pooling (``antialias``) mirrors one more."""


class MnistCnnOptions(Options):
    antialias: bool = Field(False, description="Max pooling without aliasing (Zhang 2019).")
    dropout: Literal[False] | None = optional(
        description="`false`: without dropout, for students that see their teacher on noise. "
        "Null: 0.25 behind the pooling and 0.5 before the last layer, as in PyTorch's example."
    )


class Flatten(nn.Flatten):
    """Gives its gradient back in the memory format of its input.

    Otherwise the gradient of the pooling before it is computed across the grain of memory, which
    takes a tenth of a training step on a CPU.
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.requires_grad:
            x.register_hook(lambda grad: grad.contiguous(memory_format=torch.channels_last))
        return super().forward(x)


@builders.register("mnist_cnn")
class MnistCnn(Builder):
    """conv32 – ReLU – conv64 – ReLU – max pool – dropout – fc128 – ReLU – dropout – fc.

    1,200,458 parameters with 3 input channels, 10 classes and MNIST's 28×28 pixels. For images of
    another size, 6×6 at least, fc128 takes what the pooling leaves of it: 64·((size − 4) // 2)².
    """

    Options = MnistCnnOptions

    def body(self, n_classes: int) -> nn.Module:
        side = self.side or SIDE
        if side < (least := SMALLEST[self.options.antialias]):
            raise KdpipeError(
                f"mnist_cnn cannot take images of {side}×{side} pixels, only of {least}×{least} "
                f"and more; change the size of the data set, or take another network."
            )
        self.image_size = side
        pooled = (side - 4) // 2
        pool: nn.Module = nn.MaxPool2d(2)
        if self.options.antialias:
            pool = nn.Sequential(nn.MaxPool2d(2, stride=1), BlurPool(64))
        drops = self.options.dropout is not False
        return nn.Sequential(
            OrderedDict(
                conv1=nn.Conv2d(3, 32, 3),
                relu1=nn.ReLU(),
                conv2=nn.Conv2d(32, 64, 3),
                relu2=nn.ReLU(),
                pool=pool,
                dropout1=Dropout(0.25) if drops else nn.Identity(),
                flatten=Flatten(),
                fc1=nn.Linear(64 * pooled**2, 128),
                relu3=nn.ReLU(),
                dropout2=Dropout(0.5) if drops else nn.Identity(),
                fc2=nn.Linear(128, n_classes),
            )
        )

    def layers(self, body: nn.Module) -> Layers:
        return Layers(
            penultimate="relu3",
            cam="relu2",
            hint="conv2",
            cka=("relu1", "relu2", "pool", "relu3", "fc2"),
        )
