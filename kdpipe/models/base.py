"""Networks take images in [0, 1], normalise inside, and expose their layers by name."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from kdpipe.errors import KdpipeError
from kdpipe.options import Options
from kdpipe.plugin import PluginRef
from kdpipe.registry import Registry


@dataclass(frozen=True)
class Layers:
    """Which modules of a body stand for what, by their dotted names."""

    penultimate: str
    """Output is the feature vector before the classifier; CRD's default."""
    cam: str
    """Last layer with spatial extent; Grad-CAM's default."""
    hint: str
    """Middle layer; Hint's default."""
    cka: tuple[str, ...]
    """Layers from input to output whose representations are compared."""
    nhwc: tuple[str, ...] = ()
    """Beginnings of the names of layers whose maps come as (n, height, width, channels)."""


class Builder(ABC):
    """Builds one family of architectures."""

    name: str
    Options: type[Options] = Options

    def __init__(self, options: Any) -> None:
        self.options = options

    @abstractmethod
    def body(self, n_classes: int) -> nn.Module:
        """The bare architecture with fresh weights from torch's global random stream."""

    @abstractmethod
    def layers(self, body: nn.Module) -> Layers:
        """What the modules of ``body``, which this builder made, stand for."""


class Network(nn.Module):
    """A body behind its input normalisation.

    ``mean`` and ``std`` (3,) are per channel, in the unit of the images, [0, 1].
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, body: nn.Module, layers: Layers, mean: Sequence[float], std: Sequence[float]
    ) -> None:
        super().__init__()
        self.body = body
        self.layers = layers
        self.readout: nn.Module | None = None
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(1, -1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Logits (n, classes) of images (n, 3, h, w) in [0, 1].

        With a ``readout`` the classes are those that it makes of the body's.
        """
        logits = self.body((images - self.mean) / self.std)
        return logits if self.readout is None else self.readout(logits)

    def _dotted(self, name: str) -> str:
        return getattr(self.layers, name) if name in ("penultimate", "cam", "hint") else name

    def layer(self, name: str) -> nn.Module:
        """The module called ``name``; ``penultimate``, ``cam`` and ``hint`` are aliases.

        Raises KdpipeError when the body has no such layer.
        """
        try:
            return self.body.get_submodule(self._dotted(name))
        except AttributeError:
            known = [n for n, m in self.body.named_modules() if n and not list(m.children())]
            raise KdpipeError(
                f"The network has no layer '{name}'; its layers are {', '.join(known)}."
            ) from None

    def maps(self, name: str, output: Tensor) -> Tensor:
        """The output of layer ``name`` as feature maps (n, channels, height, width).

        Tokens (n, t, channels) become a square grid, without the class token where there is one;
        vectors stay as they are.
        """
        if output.dim() == 3:
            side = math.isqrt(output.shape[1])
            if side**2 != output.shape[1]:
                side, output = math.isqrt(output.shape[1] - 1), output[:, 1:]
            return output.transpose(1, 2).unflatten(2, (side, side))
        if output.dim() == 4 and self._dotted(name).startswith(self.layers.nhwc):
            return output.permute(0, 3, 1, 2)
        return output

    def with_features(
        self, images: Tensor, names: Iterable[str], *, as_maps: bool = True
    ) -> tuple[Tensor, dict[str, Any]]:
        """Logits and the outputs of the named layers, from one forward pass.

        ``as_maps``: in the form that :meth:`maps` gives them, not the architecture's own.
        """
        kept: dict[str, Any] = {}

        def keep(name: str) -> Any:
            def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
                kept[name] = self.maps(name, output) if as_maps else output

            return hook

        handles = [self.layer(name).register_forward_hook(keep(name)) for name in names]
        try:
            logits = self(images)
        finally:
            for handle in handles:
                handle.remove()
        return logits, kept


builders: Registry[Builder] = Registry("models", "kdpipe.models")


def build(
    ref: PluginRef, n_classes: int, mean: Sequence[float], std: Sequence[float], seed: int
) -> Network:
    """A freshly initialised network; ``seed`` alone decides its weights."""
    cls = builders.get(ref.name)
    builder = cls(cls.Options(**ref.options))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        body = builder.body(n_classes)
    return Network(body, builder.layers(body), mean, std).to(memory_format=torch.channels_last)
