"""Networks take images in [0, 1], normalise inside, and expose their layers by name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdpipe.base.errors import KdpipeError
from kdpipe.base.layer_names import BEFORE, REUSED, STAGES
from kdpipe.base.options import Options
from kdpipe.base.plugin import PluginRef
from kdpipe.models import builders as builders
from kdpipe.models.shared.form import Form
from kdpipe.models.shared.layer_outputs import PREFIX as PREFIX
from kdpipe.models.shared.layer_outputs import first_tensor as first_tensor
from kdpipe.models.shared.layer_outputs import square as square
from kdpipe.models.shared.layers import UNTOLD as UNTOLD
from kdpipe.models.shared.layers import Layers as Layers
from kdpipe.models.shared.reused import ReusedClassifier

MANY = 60  # layer names that an error lists at most


OutputsOf = Literal["classes", "auxiliary", "all"]
"""Which outputs of a network: the logits of the classes, those that no label stands for, which
follow them, or both."""


@dataclass(frozen=True)
class Published:
    """Weights that come with a library: their name, the state of the bare architecture, and the
    normalisation of their training, (3,) each, for images in [0, 1], or empty if unknown."""

    origin: str
    state: dict[str, Tensor]
    mean: Sequence[float]
    std: Sequence[float]
    file: Path | None = None
    """Where it came from one file on disk."""
    classes: Sequence[str] = ()
    """What the outputs stand for, in their order; empty if the library does not say."""


class Builder(ABC):
    """Builds one family of architectures.

    >>> @builders.register("one_layer")
    ... class OneLayer(Builder):
    ...     "One convolution, and the mean of its maps for each class."
    ...     def body(self, n_classes):
    ...         maps = nn.Conv2d(3, n_classes, 3)
    ...         return nn.Sequential(maps, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    ...     def layers(self, body):
    ...         return Layers(penultimate="2", cam="0", hint="0", cka=("0", "2"))
    >>> from kdpipe.testing import check_network
    >>> check_network(OneLayer, side=16)
    """

    name: str
    Options: type[Options] = Options

    side: int | None = None
    """Height and width of the images that the network will get, where :func:`build` was told;
    both methods may look at it."""
    image_size: int | None = None
    """Height and width that the architecture is built for; None where it takes any."""
    sealed: bool = False
    """Whether layer outputs are inaccessible, as in a compiled network."""
    third_party: bool = False
    """Whether its code is unknown to kdpipe, so that inputs and outputs are found by trial."""

    def __init__(self, options: Any) -> None:
        self.options = options

    @abstractmethod
    def body(self, n_classes: int) -> nn.Module:
        """The bare architecture with fresh weights from torch's global random stream."""

    @abstractmethod
    def layers(self, body: nn.Module) -> Layers:
        """What the modules of ``body``, which this builder made, stand for."""

    @property
    def arch(self) -> str:
        """What a study writes behind the name of this builder: ``resnet18`` of
        ``torchvision/resnet18``; empty where it builds one architecture."""
        return getattr(self.options, "arch", "")

    def pinned(self) -> dict[str, Any]:
        """Options stored with the weights in place of those given: digests of files."""
        return {}

    def renamed(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """The tensors of a checkpoint under the names that they have in ``body``. Most libraries
        never rename them."""
        return state

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
        self.side: int | None = None
        self._cam: str | None = None
        self.bgr = False
        self.auxiliary = 0
        self.reused: ReusedClassifier | None = None
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(1, -1, 1, 1))

    def forward(self, images: Tensor, outputs: OutputsOf = "classes") -> Tensor:
        """Logits (n, classes) of images (n, 3, h, w) in [0, 1].

        The last ``auxiliary`` outputs of the body are no classes: they come only where ``outputs``
        asks for them, by themselves (n, auxiliary) or behind the classes.

        With ``bgr`` the body sees the channels in that order, which is that of ``mean`` and ``std``
        too. With a ``trained_size`` images are first brought to that height and width. With a
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
        if self.bgr:
            images = images.flip(1)
        normalised = (images - self.mean) / self.std
        answer: Any = self.body if self.reused is None else self._by_reused
        logits = self.form.logits(answer, normalised) if self.form else answer(normalised)
        more: Tensor | None = None
        if self.auxiliary:
            logits, more = logits.split([logits.shape[1] - self.auxiliary, self.auxiliary], 1)
        if outputs == "auxiliary":
            return logits[:, :0] if more is None else more
        classes = logits if self.readout is None else self.readout(logits)
        return classes if outputs == "classes" or more is None else torch.cat([classes, more], 1)

    def _by_reused(self, images: Tensor) -> Tensor:
        """What the reused classifier makes of a layer of the body, for normalised images."""
        assert self.reused is not None
        kept: list[Tensor] = []
        layer = self.reused.settings.layer

        def keep(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if (tensor := first_tensor(output)) is not None:
                kept.append(self.maps(layer, tensor))

        handle = self.body.get_submodule(layer).register_forward_hook(keep)
        try:
            self.body(images)
        finally:
            handle.remove()
        # A body may be in half precision by itself.
        return self.reused(kept[-1].to(self.mean.dtype))

    def reuse(self, classifier: ReusedClassifier) -> None:
        """Decide by ``classifier`` from now on, whose input is the penultimate layer then."""
        self.reused = classifier.to(self.mean.device).to(memory_format=torch.channels_last)
        known, read = self.layers.cka, classifier.settings.layer
        last = self.layers.penultimate
        end = known.index(read) + 1 if read in known else known.index(last) if last in known else 0
        behind = tuple(f"{REUSED}.{part}" for part in ("projector", "features", "classifier"))
        self.layers = replace(
            self.layers, penultimate=f"{REUSED}.features", cka=(*known[:end], *behind)
        )
        if self.form:  # that of the body's own answer
            self.form = self.form.model_copy(update={"outputs": "logits", "several": ""})

    def layer(self, name: str) -> nn.Module:
        """The module called ``name``; ``penultimate``, ``cam``, ``hint`` and F1, F2, … are
        aliases (see :class:`Layers`).

        Raises KdpipeError if the body has no such layer, or it is unknown which one is meant.
        """
        dotted = self.dotted(name)
        if not dotted:
            raise KdpipeError(
                f"It is unknown which layer of this network is '{name}'; name one of its modules "
                f"instead, or leave out the probe or objective that reads it."
            )
        try:
            return self._module(dotted)
        except AttributeError:
            raise KdpipeError(f"The network has no layer '{name}'; {self._known()}.") from None

    def _module(self, dotted: str) -> nn.Module:
        """A module of the body, or of a reused classifier."""
        own = self.reused is not None and dotted.partition(".")[0] == REUSED
        return (self if own else self.body).get_submodule(dotted)

    def dotted(self, name: str) -> str:
        """The module's name behind an alias; any other name as it is."""
        return self.cam if name == "cam" else self.layers.dotted(name)

    @property
    def cam(self) -> str:
        """The last of the layers from ``layers.cam`` back to the input that has more than one
        place for images of ``side`` pixels.

        ``layers.cam`` if none has, or the size of the images is unknown. Found once, with one black
        image.
        """
        if self._cam is None:
            self._cam = self._with_places()
        return self._cam

    def _with_places(self) -> str:
        first, compared = self.layers.cam, self.layers.cka
        if self.side is None or not first:
            return first
        # Of layers that CKA compares, those before the one that is meant; all where it is none.
        end = compared.index(first) if first in compared else len(compared)
        names = list(dict.fromkeys((first, *reversed(compared[:end]))))
        image = torch.zeros(1, self.mean.shape[1], self.side, self.side, device=self.mean.device)
        modes = [(module, module.training) for module in self.modules()]
        places: dict[str, int] = {}

        def keep(name: str) -> Any:
            def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
                tensor = first_tensor(output)
                found = tensor if tensor is None else self.maps(name, tensor)
                places[name] = found[0, 0].numel() if found is not None and found.dim() == 4 else 0

            return hook

        handles = [self._module(n).register_forward_hook(keep(n)) for n in names]
        try:
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                self.eval()(image.to(self.mean.dtype))
        finally:
            for handle in handles:
                handle.remove()
            for module, mode in modes:
                module.training = mode
        return next((name for name in names if places.get(name, 0) > 1), first)

    @property
    def groups(self) -> dict[str, tuple[str, ...]]:
        """The layers behind each name that stands for several (see ``base.layer_names``)."""
        stages = self.layers.stages or self.layers.cka
        inside = set(self.layers.cka[:1]) <= set(stages)
        return {STAGES: stages, BEFORE: () if inside else ("F1",)}

    def expanded(self, names: Iterable[str]) -> tuple[str, ...]:
        """``names`` with the layers' own in place of those that stand for several, each once."""
        groups = self.groups
        return tuple(dict.fromkeys(one for name in names for one in groups.get(name, (name,))))

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

        Tokens (n, t, channels) become a square grid, without class token and registers where there
        are some; vectors stay as they are, and so do tokens that fill no square.
        """
        if output.dim() == 3:
            side, prefix = square(output.shape[1], self.layers.prefix)
            if not side:
                return output
            return output[:, prefix:].transpose(1, 2).unflatten(2, (side, side))
        if output.dim() == 4 and self.layers.dotted(name).startswith(self.layers.nhwc):
            return output.permute(0, 3, 1, 2)
        return output

    def with_features(
        self,
        images: Tensor,
        names: Iterable[str],
        *,
        as_maps: bool = True,
        outputs: OutputsOf = "classes",
    ) -> tuple[Tensor, dict[str, Any]]:
        """Logits, those of ``outputs``, and the outputs of the named layers, from one forward pass.

        ``as_maps``: in the form that :meth:`maps` gives them, not the architecture's own.
        """
        kept: dict[str, Any] = {}

        def keep(name: str) -> Any:
            def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
                output = first_tensor(output)
                kept[name] = self.maps(name, output) if as_maps else output

            return hook

        handles = [self.layer(name).register_forward_hook(keep(name)) for name in names]
        try:
            logits = self(images, outputs)
        finally:
            for handle in handles:
                handle.remove()
        return logits, kept


def out_of_place(body: nn.Module) -> nn.Module:
    """``body`` without in-place activations, which would change recorded layer outputs."""
    for module in body.modules():
        if getattr(module, "inplace", False):
            module.inplace = False  # type: ignore[assignment]
    return body


def build(
    ref: PluginRef,
    n_classes: int,
    mean: Sequence[float],
    std: Sequence[float],
    seed: int,
    side: int | None = None,
    auxiliary: int = 0,
) -> Network:
    """A freshly initialised network in training mode; ``seed`` alone decides its weights.

    ``mean`` and ``std`` (3,): of the training images per channel, in [0, 1]. ``side``: height and
    width of the images it will get; None for what its architecture was published for.
    ``auxiliary``: outputs beside those of the classes. Raises KdpipeError when there is no such
    network, or it takes no images of that size.
    """
    builder: Builder = ref.make()
    builder.side = side
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        body = builder.body(n_classes + auxiliary)
    network = Network(body, builder.layers(body), mean, std)
    network.image_size = builder.image_size
    network.side = builder.image_size or side
    network.auxiliary = auxiliary
    # Third-party networks may come in half precision.
    return network.float().to(memory_format=torch.channels_last)
