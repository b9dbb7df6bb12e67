"""Image classifiers of torchvision, by their names there."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from pydantic import Field
from torch import nn

from kdpipe.errors import KdpipeError
from kdpipe.models.base import Builder, Layers, builders
from kdpipe.options import Options


def _resnet(_body: nn.Module, _arch: str) -> Layers:
    stages = ("layer1", "layer2", "layer3", "layer4")
    return Layers(
        penultimate="avgpool",
        cam="layer4",
        hint="layer2",
        cka=("maxpool", *stages, "avgpool", "fc"),
    )


def _vgg(body: nn.Module, arch: str) -> Layers:
    features = list(body.features.named_children())  # type: ignore[union-attr, operator]
    pools = [f"features.{n}" for n, m in features if isinstance(m, nn.MaxPool2d)]
    rectified = [f"features.{n}" for n, m in features if isinstance(m, nn.ReLU)]
    # The convolution, with its ReLU, that the paper takes; else the last before the third pooling.
    paper = {"vgg11": 4, "vgg19": 7}
    before = next(int(p.split(".")[1]) for p in pools[2:])
    fallback = sum(int(r.split(".")[1]) < before for r in rectified)
    hint = rectified[paper.get(arch.removesuffix("_bn"), fallback) - 1]
    return Layers(
        penultimate="classifier.4",
        cam="features",
        hint=hint,
        cka=(*pools, "classifier.4", "classifier.6"),
    )


def _vit(body: nn.Module, _arch: str) -> Layers:
    blocks = [f"encoder.layers.{n}" for n, _ in body.encoder.layers.named_children()]  # type: ignore[union-attr, operator]
    quarters = [blocks[(i + 1) * len(blocks) // 4 - 1] for i in range(4)]
    # The classifier sees the class token alone, so that behind the last attention no gradient
    # reaches the tokens of the image: Grad-CAM looks at what goes into that attention.
    return Layers(
        penultimate="heads.features",
        cam=f"{blocks[-1]}.ln_1",
        hint=blocks[-1],
        cka=("conv_proj", *quarters, "heads.features", "heads.head"),
    )


def _swin(_body: nn.Module, _arch: str) -> Layers:
    stages = ("features.1", "features.3", "features.5", "features.7")
    return Layers(
        penultimate="flatten",
        cam="norm",
        hint="features.3",
        cka=("features.0", *stages, "flatten", "head"),
        nhwc=("features", "norm"),
    )


FAMILIES: dict[str, Callable[[nn.Module, str], Layers]] = {
    "resnet": _resnet,
    "resnext": _resnet,
    "wide_resnet": _resnet,
    "vgg": _vgg,
    "vit": _vit,
    "swin": _swin,
}


class TorchvisionOptions(Options):
    arch: str = Field("resnet18", description="A name in torchvision.models.")


@builders.register("torchvision")
class Torchvision(Builder):
    """torchvision's architectures with random weights."""

    Options = TorchvisionOptions

    def body(self, n_classes: int) -> nn.Module:
        import torchvision

        self._family()  # an unknown one is refused before it is built
        try:
            body = torchvision.models.get_model(
                self.options.arch, weights=None, num_classes=n_classes
            )
        except ValueError:
            raise KdpipeError(
                f"torchvision has no model '{self.options.arch}'; see torchvision.models."
            ) from None
        for module in body.modules():
            if getattr(module, "inplace", False):
                # What a layer gives must not change after it was looked at.
                module.inplace = False  # type: ignore[assignment]
        if isinstance(getattr(body, "heads", None), nn.Sequential):
            # A name for the vector that a vision transformer classifies by.
            body.heads = nn.Sequential(
                OrderedDict([("features", nn.Identity()), *body.heads.named_children()])
            )
        return body

    def layers(self, body: nn.Module) -> Layers:
        return FAMILIES[self._family()](body, self.options.arch)

    def _family(self) -> str:
        for family in FAMILIES:
            if self.options.arch.startswith(family):
                return family
        raise KdpipeError(
            f"The layers of torchvision's '{self.options.arch}' are not known to kdpipe; "
            f"families known are {', '.join(FAMILIES)}."
        )
