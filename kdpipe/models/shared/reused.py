"""A network that classifies by the classifier of another one, behind a projector."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdpipe.base.options import Options

Shape = tuple[int, ...]


class ReusedSettings(Options):
    """What ``model.json`` says of a classifier that was taken from another network."""

    layer: str
    """The network's layer that the projector reads, by its dotted name."""
    channels: int
    """Of that layer."""
    pooled: tuple[int, int] | None
    """Height and width that its maps are pooled to; None where they stay as they are."""
    width: int
    """Numbers that the classifier reads."""
    factor: int
    """By which the projector's inner layers are narrower than the classifier's input."""
    outputs: int
    """Numbers that the classifier gives."""

    @classmethod
    def between(
        cls, layer: str, own: Shape, theirs: Shape, factor: int, outputs: int
    ) -> ReusedSettings:
        """For a student's layer of shape ``own`` and a teacher's of shape ``theirs``, both without
        the batch: (channels, height, width) or (channels,). The larger maps are pooled to the size
        of the smaller ones, here those of the student."""
        places, target = own[1:] or (1, 1), theirs[1:] or (1, 1)
        return cls(
            layer=layer,
            channels=own[0],
            pooled=(target[0], target[1]) if places[0] > target[0] else None,
            width=theirs[0],
            factor=factor,
            outputs=outputs,
        )


class Places(nn.Module):
    """Mean over places: maps (n, width, height, width) to vectors (n, width)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


class ReusedClassifier(nn.Module):
    """Projector, mean over places, and a linear map that stays as it is.

    The projector (Chen et al. 2022, Fig. 3 and the authors' code) is 1×1 – 3×3 – 1×1 convolutions
    without bias, each with batch normalisation and ReLU. Takes maps (n, channels, height, width) or
    vectors (n, channels), gives (n, outputs).
    """

    def __init__(self, settings: ReusedSettings) -> None:
        super().__init__()
        self.settings = settings
        inner = max(1, settings.width // settings.factor)
        self.projector = nn.Sequential(
            *convolution(settings.channels, inner, 1),
            *convolution(inner, inner, 3),
            *convolution(inner, settings.width, 1),
        )
        self.features = Places()
        self.classifier = nn.Linear(settings.width, settings.outputs).requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        x = x.reshape(*x.shape[:2], *(x.shape[2:] or (1, 1)))
        if self.settings.pooled is not None:
            x = F.adaptive_avg_pool2d(x, self.settings.pooled)
        return self.classifier(self.features(self.projector(x)))


def convolution(before: int, after: int, size: int) -> tuple[nn.Module, ...]:
    layer = nn.Conv2d(before, after, size, padding=size // 2, bias=False)
    return layer, nn.BatchNorm2d(after), nn.ReLU()


def freeze_unused(network: nn.Module, images: Tensor) -> None:
    """Take parameters that do not influence the logits of ``images`` out of the training.

    They stay in the network as they are: what stands behind the layer that a reused classifier
    reads, such as the network's own classifier.
    """
    modes = [(module, module.training) for module in network.modules()]
    learned = [p for p in network.parameters() if p.requires_grad]
    with torch.enable_grad():
        total = network.eval()(images).sum()
        grads = torch.autograd.grad(total, learned, allow_unused=True)
    for module, mode in modes:
        module.training = mode
    for parameter, grad in zip(learned, grads, strict=True):
        parameter.requires_grad_(grad is not None)
