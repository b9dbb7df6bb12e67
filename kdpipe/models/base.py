"""Networks take images in [0, 1], normalise inside, and expose their layers by name."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdpipe.errors import KdpipeError
from kdpipe.models._form import Form
from kdpipe.options import Options
from kdpipe.plugin import PluginRef
from kdpipe.registry import Registry

MANY = 60  # more names than that nobody reads


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
    """Layers from input to output whose representations are compared; also called F1, F2, …."""
    nhwc: tuple[str, ...] = ()
    """Beginnings of the names of layers whose maps come as (n, height, width, channels)."""

    def dotted(self, name: str) -> str:
        """The module's name behind an alias; any other name as it is."""
        if name in ("penultimate", "cam", "hint"):
            return getattr(self, name)
        number = int(name[1:]) if name[:1] == "F" and name[1:].isdigit() else 0
        return self.cka[number - 1] if 0 < number <= len(self.cka) else name


@dataclass(frozen=True)
class Published:
    """Weights that come with a library: what they are called, the state of the bare architecture,
    and the normalisation they were trained with, (3,) each, in the unit of the images, [0, 1], or
    empty where nobody says."""

    origin: str
    state: dict[str, Tensor]
    mean: Sequence[float]
    std: Sequence[float]
    file: Path | None = None
    """Where it came from one file on disk."""


class Builder(ABC):
    """Builds one family of architectures."""

    name: str
    Options: type[Options] = Options

    image_size: int | None = None
    """Height and width that the architecture is built for; None where it takes any."""
    sealed: bool = False
    """Whether nothing inside of the network can be looked at, as in a compiled one."""
    third_party: bool = False
    """Whether kdpipe does not know its code, so that how it is called is found by trying."""

    def __init__(self, options: Any) -> None:
        self.options = options

    @abstractmethod
    def body(self, n_classes: int) -> nn.Module:
        """The bare architecture with fresh weights from torch's global random stream."""

    @abstractmethod
    def layers(self, body: nn.Module) -> Layers:
        """What the modules of ``body``, which this builder made, stand for."""

    def pinned(self) -> dict[str, Any]:
        """The options as they are kept beside the weights, with digests of files that they name."""
        return self.options.model_dump(mode="json")

    def published(self, name: str) -> Published:
        """The published weights called ``name``. Raises KdpipeError when there are none."""
        raise KdpipeError(
            f"weights: there are none published as '{name}' for the network '{self.name}'; give a "
            f"path or a url."
        )


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
        self.form: Form | None = None
        self.image_size: int | None = None
        self.trained_size: int | None = None
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(1, -1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Logits (n, classes) of images (n, 3, h, w) in [0, 1].

        With a ``trained_size`` images are first brought to that height and width. With a
        ``readout`` the classes are those that it makes of the body's. A body that takes or gives
        something else than usual is called as its ``form`` says. Raises KdpipeError when the
        architecture is for images of another size.
        """
        if self.trained_size and tuple(images.shape[2:]) != (self.trained_size,) * 2:
            images = F.interpolate(
                images, (self.trained_size,) * 2, mode="bilinear", antialias=True
            )
        if self.image_size and (size := tuple(images.shape[2:])) != (self.image_size,) * 2:
            raise KdpipeError(
                f"The network takes images of {self.image_size}×{self.image_size} pixels, not "
                f"{size[0]}×{size[1]}; change the size of the data set or the network's image_size."
            )
        normalised = (images - self.mean) / self.std
        logits = self.form.logits(self.body, normalised) if self.form else self.body(normalised)
        return logits if self.readout is None else self.readout(logits)

    def layer(self, name: str) -> nn.Module:
        """The module called ``name``; ``penultimate``, ``cam``, ``hint`` and F1, F2, … are
        aliases (see :class:`Layers`).

        Raises KdpipeError when the body has no such layer, or nobody can say which one it is.
        """
        if not self.layers.dotted(name):
            raise KdpipeError(
                f"Which layer of this network is '{name}' cannot be told; name one of its modules "
                f"where a layer can be chosen, or leave out what looks at layers."
            )
        try:
            return self.body.get_submodule(self.layers.dotted(name))
        except AttributeError:
            raise KdpipeError(f"The network has no layer '{name}'; {self._known()}.") from None

    def _known(self) -> str:
        modules = {name: module for name, module in self.body.named_modules() if name}
        known = [name for name, module in modules.items() if not list(module.children())]
        words = f"its layers are {', '.join(known)}"
        if len(known) > MANY:
            outer = [name for name in modules if name.count(".") < 2]
            words = f"among its layers are {', '.join(outer[:MANY])}"
        aliases = ", ".join(f"F{k} = {name}" for k, name in enumerate(self.layers.cka, 1))
        return f"{words}; there are penultimate, cam, hint, {aliases} as well"

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
        if output.dim() == 4 and self.layers.dotted(name).startswith(self.layers.nhwc):
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


def out_of_place(body: nn.Module) -> nn.Module:
    """``body``, no longer changing what a layer gave after it was looked at."""
    for module in body.modules():
        if getattr(module, "inplace", False):
            module.inplace = False  # type: ignore[assignment]
    return body


UNTOLD = Layers(penultimate="", cam="", hint="", cka=())
"""Of a network whose layers cannot be told from outside."""


builders: Registry[Builder] = Registry("models", "kdpipe.models")


def build(
    ref: PluginRef, n_classes: int, mean: Sequence[float], std: Sequence[float], seed: int
) -> Network:
    """A freshly initialised network in training mode; ``seed`` alone decides its weights.

    ``mean`` and ``std`` (3,): of the training images per channel, in [0, 1]. Raises KdpipeError
    when there is no such network.
    """
    cls = builders.get(ref.name)
    builder = cls(cls.Options(**ref.options))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        body = builder.body(n_classes)
    network = Network(body, builder.layers(body), mean, std)
    network.image_size = builder.image_size
    # Weights of a network that somebody brings in half precision as well.
    return network.float().to(memory_format=torch.channels_last)
