"""Image classifiers of torchvision, by their names there."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

from pydantic import Field, model_validator
from torch import nn

from kdpipe.base.errors import KdpipeError, PassingError
from kdpipe.base.options import Options
from kdpipe.models.base import Builder, Layers, Published, builders, out_of_place
from kdpipe.models.shared.antialias import ANTIALIASED
from kdpipe.models.shared.by_shape import describe
from kdpipe.models.shared.torchvision_layers import DESCRIBED

# Arguments of torchvision's functions without which they would not give logits alone, and what
# those are called that fix the size of the images.
ARGUMENTS: dict[str, dict[str, Any]] = {
    "googlenet": {"aux_logits": False, "init_weights": True},
    "inception_v3": {"aux_logits": False, "init_weights": True},
}
SIZES = {"vit": "image_size", "maxvit": "input_size"}
SIZE = 224


class TorchvisionOptions(Options):
    arch: str = Field("resnet18", description="A name in torchvision.models.")
    antialias: bool = Field(False, description="Subsampling by blur pooling (Zhang 2019).")
    image_size: int | None = Field(
        None, ge=8, description="Pixels of a side, for ViT and MaxViT; null for 224."
    )

    @model_validator(mode="after")
    def _fits(self) -> TorchvisionOptions:
        if self.antialias and _family(self.arch, ANTIALIASED) is None:
            raise ValueError(
                f"antialias: kdpipe does not know where torchvision's '{self.arch}' subsamples; it "
                f"knows it of {', '.join(ANTIALIASED)}"
            )
        if self.image_size is not None and _family(self.arch, SIZES) is None:
            raise ValueError(
                f"image_size: torchvision's '{self.arch}' takes images of any size; leave it out"
            )
        return self


@builders.register("torchvision")
class Torchvision(Builder):
    """torchvision's architectures; see ``docs/networks.md`` for their layers."""

    Options = TorchvisionOptions

    def __init__(self, options: TorchvisionOptions) -> None:
        super().__init__(options)
        self.arguments = dict(ARGUMENTS.get(options.arch, {}))
        if family := _family(options.arch, SIZES):
            self.image_size = options.image_size or SIZE
            value = self.image_size if family == "vit" else (self.image_size,) * 2
            self.arguments[SIZES[family]] = value

    def body(self, n_classes: int) -> nn.Module:
        body = out_of_place(self._model(weights=None, num_classes=n_classes))
        if isinstance(heads := getattr(body, "heads", None), nn.Sequential):
            # A name for the vector that a vision transformer classifies by.
            body.heads = nn.Sequential(
                OrderedDict([("features", nn.Identity()), *heads.named_children()])
            )
        if self.options.antialias:
            ANTIALIASED[_family(self.options.arch, ANTIALIASED) or ""](body)
        return body

    def layers(self, body: nn.Module) -> Layers:
        family = _family(self.options.arch, DESCRIBED)
        if family is not None:
            return DESCRIBED[family](body, self.options.arch)
        usual = 299 if self.options.arch == "inception_v3" else SIZE
        return describe(body, self.image_size or self.side or usual)

    def published(self, name: str) -> Published:
        """Weights of torchvision, which downloads them into torch's own cache.

        Raises KdpipeError when there are none of that name, PassingError when they cannot be
        had now.
        """
        import torchvision

        arch = self.options.arch
        known = torchvision.models.get_model_weights(self._known())
        if name not in known.__members__:
            raise KdpipeError(
                f"weights: torchvision has no weights '{name}' for '{arch}'; it has "
                f"{', '.join(known.__members__)}."
            )
        try:
            body = self._model(weights=name, progress=False)
        except (OSError, RuntimeError) as error:
            raise PassingError(
                f"weights: torchvision cannot get {name} of '{arch}' from {known[name].url} "
                f"({error}); put the file into torch's cache, or run where there is a network."
            ) from None
        except ValueError as error:
            raise KdpipeError(f"weights: {name} does not fit '{arch}': {error}.") from None
        transforms = known[name].transforms()
        mean, std = transforms.mean, transforms.std
        if getattr(body, "transform_input", False):
            # The Inceptions bring images normalised in the usual way to the range [-1, 1].
            mean, std = [0.5] * 3, [0.5] * 3
        return Published(f"torchvision {arch} {name}", dict(body.state_dict()), mean, std)

    def _model(self, **arguments: Any) -> nn.Module:
        import torchvision

        return torchvision.models.get_model(self._known(), **self.arguments, **arguments)

    def _known(self) -> str:
        """The architecture's name. Raises KdpipeError when it is none of torchvision's."""
        import difflib

        import torchvision

        arch = self.options.arch
        known = torchvision.models.list_models(module=torchvision.models)
        if arch not in known:
            close = difflib.get_close_matches(arch, known, 5, 0.5) or known
            raise KdpipeError(
                f"torchvision has no model '{arch}' that classifies images; it has "
                f"{', '.join(close)}; see torchvision.models."
            )
        return arch


def _family(arch: str, families: Iterable[str]) -> str | None:
    return next((family for family in families if arch.startswith(family)), None)
